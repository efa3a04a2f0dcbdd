"""From a data folder to the images of each side, saying what was found."""

from dataclasses import replace
from pathlib import Path

from tlearn.config import RunConfig
from tlearn.data.edits_file import edits_path, orphaned_edits
from tlearn.data.problems import FOLDER_KINDS, summarize
from tlearn.data.scan import Manifest, scan
from tlearn.data.splits import Splits, draw_splits
from tlearn.progress import Progress


def read(data: Path, config: RunConfig, progress: Progress) -> tuple[Manifest, Splits]:
    """Scan a folder and split it as a training does.

    Args:
        data: The folder.
        config: Says how to group and to split, and whether unreadable images are an error.
        progress: Where to show progress, and say what is left out.

    Raises:
        DataError: If it holds no such images, or some cannot be read and ``config.strict``.
    """
    manifest = scan(data, config.group, progress)
    _say_edits(manifest, progress)
    if config.strict:
        manifest.refuse_unreadable()
    n = len(manifest.unreadable)
    if n:
        progress.say(
            f"{n} image{'s' if n > 1 else ''} cannot be read and {'are' if n > 1 else 'is'} left "
            f"out: {summarize(manifest.unreadable)}"
        )
    for problem in manifest.problems:
        if problem.kind in FOLDER_KINDS:
            progress.say(f"{problem.name}: {problem.reason}")
    splits, left_out = draw_splits(manifest, config.val, config.test, config.seed)
    manifest = replace(manifest, problems=(*manifest.problems, *left_out))
    sides = ", ".join(f"{len(files)} {side}" for side, files in splits.items() if files)
    progress.say(f"{len(splits.labels)} classes, {len(manifest.files)} images: {sides}")
    return manifest, splits


def _say_edits(manifest: Manifest, progress: Progress) -> None:
    """Say how many edits were applied, and which could not be."""
    n = len(manifest.edits.lines)
    if n:
        show = f"'tlearn data show {manifest.root}' lists them"
        progress.say(f"{n} edit{'s' if n > 1 else ''} applied; {show}")
    gone = [problem for problem in manifest.problems if problem.kind == "edit"]
    if gone:
        progress.say(f"edits without effect: {summarize(gone)}")
    for path in orphaned_edits(manifest.root):
        progress.say(
            f"{str(path)!r} holds edits of a folder that is not there; give it the name "
            f"{edits_path(manifest.root).name!r} if the folder was renamed"
        )
