"""``resume``: an interrupted or stopped training goes on where it was."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tlearn.errors import ConfigError, DataError, RunError
from tlearn.progress import Progress, console_progress
from tlearn.runs.directory import CHECKPOINT, RunDirectory
from tlearn.runs.run import Run
from tlearn.settings import make_config
from tlearn.training.pipeline import complete
from tlearn.training.stopwatch import Stopwatch


def resume(
    run: str | Path,
    *,
    quiet: bool = False,
    progress: Progress | None = None,
    callbacks: Sequence[Any] = (),
) -> Run:
    """Continue a training that was stopped, killed, or ended by an error.

    It goes on after the last epoch that its checkpoint holds, with the configuration and the data
    of the run, and comes to the model that it would have come to. Until there is a better one the
    run keeps the model it has. A time budget counts anew. The seconds in ``metrics.json`` are those
    up to the checkpoint and those since: what is done again counts once.

    Args:
        run: The run directory.
        quiet: Show nothing while it works.
        progress: Where to show progress instead of standard error.
        callbacks: Keras callbacks; they begin anew.

    Returns:
        The finished run.

    Raises:
        RunError: If it is no run, or finished, or another process works on it.
        DataError: If its images are no longer what they were.
        TlearnError: If it cannot be continued for another reason; what it has stays.

    Example:
        >>> run = tlearn.resume("runs/photos")  # doctest: +SKIP
    """
    progress = progress or console_progress(quiet)
    directory = RunDirectory.reopen(Path(run))
    try:
        return _resumed(directory, progress, callbacks)
    except BaseException:
        directory.leave()
        raise


def _resumed(run: RunDirectory, progress: Progress, callbacks: Sequence[Any]) -> Run:
    try:
        record = yaml.safe_load((run / "run.yaml").read_text(encoding="utf-8"))
        config = make_config(run / "run.yaml")
        data, digest = Path(record["data"]["path"]), record["data"]["digest"]
        weights = record["weights_digest"]
    except (ValueError, LookupError, TypeError, yaml.YAMLError, ConfigError):
        raise RunError(
            f"run.yaml of the run {str(run.path)!r} is damaged; train anew with 'tlearn finetune' "
            f"and another --out"
        ) from None
    if not data.is_dir():
        raise DataError(
            f"the images of the run {str(run.path)!r} are no longer in {str(data)!r}; put them "
            f"back, or train anew with 'tlearn finetune'"
        )
    from tlearn.training.setup import read_setup
    from tlearn.training.state import Checkpoint

    checkpoint = Checkpoint(run / CHECKPOINT, progress.say)
    state = checkpoint.read()
    if state is None:
        run.event("resumed", stage="probe", epoch=0, epochs=0)
    clock = Stopwatch(state.seconds if state else None)
    with clock.part("total"):
        setup = read_setup(config, data, progress, clock)
        sides = run / "splits.csv"
        as_before = not sides.exists() or sides.read_bytes() == setup.splits.to_csv().encode()
        if setup.manifest.digest != digest or not as_before:
            raise DataError(
                f"the images in {str(data)!r} have changed since the run {str(run.path)!r} began; "
                f"train anew with 'tlearn finetune' and another --out"
            )
        if setup.built.digest != weights:
            raise RunError(
                f"the weights {config.weights!r} of {config.backbone} are not those that the run "
                f"{str(run.path)!r} began with; bring those back, or train anew with 'tlearn "
                f"finetune' and another --out"
            )
        return complete(run, setup, checkpoint, callbacks, state)
