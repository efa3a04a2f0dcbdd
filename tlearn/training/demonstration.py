"""``demo``: see it work on pictures that are drawn for it."""

from pathlib import Path

from tlearn.data.sample import draw_sample
from tlearn.errors import BackboneError
from tlearn.progress import Progress, console_progress
from tlearn.runs.directory import check_free, free_name
from tlearn.runs.run import Run
from tlearn.training.pipeline import finetune


def demo(
    out: str | Path | None = None, *, quiet: bool = False, progress: Progress | None = None
) -> Run:
    """Draw a small set of pictures and train on it.

    Starts from ImageNet weights if they are at hand or can be fetched, else from random ones.

    Args:
        out: Folder to make, for ``photos`` and ``run``; ``tlearn-demo`` if not given.
        quiet: Show nothing while it works.
        progress: Where to show progress instead of standard error.

    Raises:
        RunError: If the folder exists.
    """
    progress = progress or console_progress(quiet)
    folder = Path(out) if out else free_name("tlearn-demo", Path())
    check_free(folder)
    progress.say(f"drawing pictures into {folder / 'photos'}")
    photos = draw_sample(folder / "photos")
    try:
        return finetune(photos, folder / "run", progress=progress)
    except BackboneError as error:
        progress.say(f"starting from random weights, so expect little: {error}")
        return finetune(photos, folder / "run", weights="none", progress=progress)
