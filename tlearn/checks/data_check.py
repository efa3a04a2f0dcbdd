"""``check``: what may be wrong with a data set, before or after a training."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlearn.backbones import load_registry
from tlearn.backbones.availability import check_weights
from tlearn.checks.class_checks import check_classes
from tlearn.checks.finding import CheckResult, ranked, refuse_unknown
from tlearn.checks.measures import Measuring
from tlearn.checks.name_checks import check_hidden, check_names
from tlearn.checks.photo_checks import check_photos
from tlearn.checks.scan_checks import check_duplicates, check_scan
from tlearn.config import RunConfig
from tlearn.data.data_source import DataSource
from tlearn.data.edits import Edits
from tlearn.data.read_data import read_source
from tlearn.data.scan import scan
from tlearn.data.scan_cache import ScanCache
from tlearn.data.tables import is_table
from tlearn.features.cluster_engine import check_cluster
from tlearn.object_stores import as_path
from tlearn.progress import Progress, console_progress
from tlearn.settings import make_config
from tlearn.text import decode_name


def check(
    data: str | Path,
    *,
    content: bool = True,
    which: Sequence[str] = (),
    config: str | Path | RunConfig | None = None,
    quiet: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> CheckResult:
    """Look for what is wrong with the files, names, classes and content of a data set.

    Nothing is changed: ``result.apply(findings)`` makes the edits that findings propose.

    Args:
        data: As of :func:`tlearn.finetune`.
        content: Whether to look at what is on the photos too, by the features of a backbone, which
            takes TensorFlow and longer: duplicates, leaks, suspect labels, outliers.
        which: What :meth:`CheckResult.of` will be asked for; what can be neither a check nor the
            name of something is refused before photos are read. All is checked, whatever it is.
        config: A configuration or a YAML file of one.
        quiet: Show nothing while it works.
        progress: Where to show progress instead of standard error.
        **options: Fields of :class:`tlearn.RunConfig`, such as ``backbone`` and ``group``.

    Raises:
        TlearnError: If an argument or the data cannot be used.

    Example:
        >>> result = tlearn.check("photos")  # doctest: +SKIP
        >>> result.counts  # doctest: +SKIP
        {'unreadable': 2, 'suspect label': 13, 'blurred': 1}
        >>> result.apply(result.of("unreadable", "roses/a.jpg"))  # doctest: +SKIP
    """
    start = time.monotonic()
    settings = make_config(config, options=options)
    data, progress = as_path(data), progress or console_progress(quiet)
    if content:
        backbone = load_registry().get(settings.backbone)  # before all is read
        check_weights(backbone, backbone.checked_weights(settings.weights))
        names = (settings.engine, settings.precision)
        check_cluster(settings.cluster, [settings.backbone], *names)
    source = read_source(data, progress)
    _refuse_unknown(which, source)
    measuring = Measuring()
    cache = ScanCache(data)
    manifest = scan(source, settings.group, progress, cache=cache, inspect=measuring.inspect)
    findings = [
        *check_scan(manifest.problems),
        *check_photos(manifest.files, measuring.measures_of(manifest.files)),
        *check_names(manifest.files),
        *([] if is_table(data) else check_hidden(manifest.folder)),
        *check_classes(manifest.files),
    ]
    if not content:
        findings += check_duplicates(manifest.files)
    else:
        from tlearn.checks.content import check_content  # takes seconds to import

        findings += check_content(manifest, settings, progress)
    seconds = time.monotonic() - start
    photos = len(manifest.files)
    return CheckResult(data, manifest.folder, photos, manifest.labels, ranked(findings), seconds)


def _refuse_unknown(which: Sequence[str], source: DataSource) -> None:
    """Refuse a word that can be neither a check nor what a finding is about.

    Raises:
        ConfigError: If there is one.
    """
    edits = Edits.of(source.data)
    classes = edits.apply(source.files).classes | {*source.class_folders.values()}
    listed = {f"{label}/" for label in {*classes, *source.class_folders}}
    listed |= {*(source.files.names.to_pylist() if which else ())}
    listed |= {problem.name for problem in source.problems} | {edit.path for edit in edits.lines}
    # Unlike Path.exists, it takes names that are too long.
    exist = {word for word in which if os.path.exists(source.folder / decode_name(word))}  # noqa: PTH110
    refuse_unknown(which, listed | exist, f"and {str(source.data)!r} has no photo of this name")
