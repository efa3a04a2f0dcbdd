"""Checks of what is on the photos, by the features of a backbone."""

from tlearn.checks.finding import Finding
from tlearn.config import RunConfig
from tlearn.data.scan import Manifest
from tlearn.progress import Progress


def check_content(manifest: Manifest, config: RunConfig, progress: Progress) -> list[Finding]:
    """Return what is found in the photos of a scanned data set, in any order."""
    return []
