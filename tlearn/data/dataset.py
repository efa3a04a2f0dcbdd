"""From a data folder to the images of each side, saying what was found."""

from dataclasses import replace
from pathlib import Path

from tlearn.config import RunConfig
from tlearn.data.problems import FOLDER_KINDS, summarize
from tlearn.data.scan import Manifest, scan
from tlearn.data.splits import Splits, draw_splits
from tlearn.errors import DataError
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
    if manifest.edits.lines:
        progress.say(f"{len(manifest.edits.lines)} edits applied, see 'tlearn data show {data}'")
    unreadable = [p for p in manifest.problems if p.kind == "unreadable"]
    if unreadable:
        n = len(unreadable)
        said = f"{n} image{'s' if n > 1 else ''} cannot be read"
        if config.strict:
            raise DataError(
                f"{said}: {summarize(unreadable)}; mend or remove them, or leave out --strict"
            )
        progress.say(f"{said} and {'are' if n > 1 else 'is'} left out: {summarize(unreadable)}")
    for problem in manifest.problems:
        if problem.kind in FOLDER_KINDS:
            progress.say(f"{problem.name}: {problem.reason}")
    splits, left_out = draw_splits(manifest, config.val, config.test, config.seed)
    manifest = replace(manifest, problems=(*manifest.problems, *left_out))
    sides = ", ".join(f"{len(files)} {side}" for side, files in splits.items() if files)
    progress.say(f"{len(splits.labels)} classes, {len(manifest.files)} images: {sides}")
    return manifest, splits
