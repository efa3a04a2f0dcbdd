"""From a data folder to the images of each split."""

from dataclasses import replace
from pathlib import Path

from tlearn.config import RunConfig
from tlearn.data.layouts import Split
from tlearn.data.problems import FOLDER_KINDS, summarize
from tlearn.data.scan import Manifest, scan
from tlearn.data.splits import Splits, draw_splits
from tlearn.progress import Progress


def load_dataset(data: Path, config: RunConfig, progress: Progress) -> tuple[Manifest, Splits]:
    """Scan a folder and split it as a training does; report what is left out.

    Raises:
        DataError: If the folder cannot be scanned or split, or ``config.strict`` and an image
            cannot be read.
    """
    manifest = scan(data, config.group, progress)
    if config.strict:
        manifest.refuse_unreadable()
    if n := len(manifest.unreadable):
        progress.say(
            f"{n} image{'s' if n > 1 else ''} cannot be read and {'are' if n > 1 else 'is'} left "
            f"out: {summarize(manifest.unreadable)}"
        )
    for problem in manifest.problems:
        if problem.kind in FOLDER_KINDS:
            progress.say(f"{problem.name}: {problem.reason}")
    splits, problems = draw_splits(manifest, config.val, config.test, config.seed)
    _say_given(config, {file.given for file in manifest.files}, progress)
    progress.say(_counted(splits))
    for problem in problems:
        if problem.kind == "empty class":
            progress.say(problem.reason)
    return replace(manifest, problems=(*manifest.problems, *problems)), splits


def _say_given(config: RunConfig, given: set[Split | None], progress: Progress) -> None:
    """Report options without effect, because there is a folder for that split."""
    for option, split in (("val", "validation"), ("test", "test")):
        value = getattr(config, option)
        if split in given and option in config.model_fields_set and value:
            reason = f"the data has a folder for the {split} split"
            progress.say(f"{option} {value} has no effect: {reason}")


def _counted(splits: Splits) -> str:
    sizes = {split: len(files) for split, files in splits.items() if files}
    parts = ", ".join(f"{n:,} {split}" for split, n in sizes.items())
    return f"{len(splits.labels):,} classes, {sum(sizes.values()):,} images: {parts}"
