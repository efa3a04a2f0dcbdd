"""``finetune``, ``resume`` and ``demo``: from a folder of images to a run.

Keras is imported by the functions that need it, after everything that can be checked without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlearn.backbones import load_registry
from tlearn.backbones.availability import backbones_with_weights
from tlearn.config import RunConfig
from tlearn.data.read_data import check_data, data_name
from tlearn.data.sample import draw_sample
from tlearn.errors import BackboneError, RunError, TlearnError, os_errors_as
from tlearn.object_stores import StorePath, as_path
from tlearn.progress import Progress, console_progress
from tlearn.python_files import as_given, files_of
from tlearn.runs.continued_run import continued
from tlearn.runs.directory import RUNS, RunDirectory, check_free, check_trainable, free_name
from tlearn.runs.run import Run
from tlearn.runs.stored_runs import local_run, new_mirror, upload_changes, uploading
from tlearn.runs.tensorboard_folder import check_installed
from tlearn.settings import make_config
from tlearn.training.cluster_training import check_group, train_on_cluster
from tlearn.training.joint_training import beside_the_first
from tlearn.training.run_training import train
from tlearn.training.workers import Workers


def finetune(
    data: str | Path,
    out: str | Path | None = None,
    *,
    config: str | Path | RunConfig | None = None,
    quiet: bool = False,
    progress: Progress | None = None,
    callbacks: Sequence[Any] | str | Path = (),
    train_step: Any = None,
    **options: Any,
) -> Run:
    """Train a classifier on images with their classes.

    Args:
        data: Class folders, or ``train/``, ``validation/``, ``test/`` with class folders; a CSV or
            JSON Lines table of ``path,label[,split,group]``; or a zip or tar of either.
        out: The run directory to make, or its URL in a store; ``runs/<name of the data>``, numbered
            where that exists, if not given.
        config: A configuration or a YAML file of one.
        quiet: Show nothing while it works.
        progress: Where to show progress instead of standard error.
        callbacks: Keras callbacks, or a Python file of some; all stages are one fit to them.
        train_step: A subclass of :class:`keras.Model` with a ``train_step`` of its own, for what a
            stage trains; that method alone; or ``FILE.py:NAME``.
        **options: Fields of :class:`tlearn.RunConfig`; they win over ``config``.

    Returns:
        The finished run.

    Raises:
        TlearnError: If an argument cannot be used, or the training fails; the run stays if it has a
            checkpoint, for :func:`tlearn.resume`, else it is removed.

    Example:
        >>> run = tlearn.finetune("photos", backbone="mobilenet_v2")  # doctest: +SKIP
    """
    if isinstance(callbacks, str | Path):
        callbacks, options["callbacks"] = (), str(callbacks)
    if isinstance(train_step, str):
        train_step, options["train_step"] = None, train_step
    elif train_step is not None:
        name = str(getattr(train_step, "__name__", ""))
        options["train_step"] = f":{name if name.isidentifier() else 'step'}"
    workers = Workers.from_environment()
    settings = make_config(config, options=options)
    data, progress = as_path(data), progress or console_progress(quiet)
    if workers and workers.index:
        return Run(follow(workers, progress, data, settings, callbacks, train_step))
    settings = _checked(settings, data)
    files = files_of(settings)
    path = as_path(out) if out else RUNS / data_name(data)
    check_group(settings, path, callbacks, train_step)
    path = new_mirror(path) if isinstance(path, StorePath) else path
    run = RunDirectory.create(path, settings, data, numbered=out is None)
    try:
        return _train(run, settings, progress, callbacks, train_step, workers)
    except BaseException as error:
        run.discard()
        if not run.path.exists():
            with contextlib.suppress(TlearnError):
                upload_changes(run.path)  # nothing is left in a store either
            if isinstance(error, TlearnError):
                error.args = (as_given(str(error), run.path, files),)
        raise


def _checked(config: RunConfig, data: Path) -> RunConfig:
    """Return a configuration with what a run that is continued decides, after quick checks.

    Raises:
        TlearnError: If it or the data cannot be used.
    """
    config = continued(config)
    load_registry().check(config)
    if config.tensorboard:
        check_installed()
    check_data(data)
    return config


def resume(
    run: str | Path,
    *,
    quiet: bool = False,
    progress: Progress | None = None,
    callbacks: Sequence[Any] = (),
    train_step: Any = None,
) -> Run:
    """Continue a training that was stopped, killed, or ended by an error.

    It continues after the last epoch of its checkpoint, with the configuration and the data of the
    run, and gives the same model as an uninterrupted training. If it is stopped again, a model that
    the run has is replaced by a better one only. A time budget counts anew. The seconds in
    ``metrics.json`` are those up to the checkpoint and those since: what is done again counts once.

    Args:
        run: The run directory.
        quiet: Show nothing while it works.
        progress: Where to show progress instead of standard error.
        callbacks: Keras callbacks; those of before go on with what they remember.
        train_step: As of :func:`finetune`, if the run began with one of Python.

    Returns:
        The finished run.

    Raises:
        RunError: If it is no run, or finished, or another process works on it.
        DataError: If its images are no longer what they were.
        TlearnError: If it cannot be continued for another reason; what it has stays.

    Example:
        >>> run = tlearn.resume("runs/photos")  # doctest: +SKIP
    """
    workers, shown = Workers.from_environment(), progress or console_progress(quiet)
    if workers and workers.index:
        return Run(follow(workers, shown, None, None, callbacks, train_step))
    directory = RunDirectory(local_run(run))
    check_trainable(directory.path)
    config = directory.request().config
    check_group(config, as_path(run), callbacks, train_step)
    return _train(directory, config, shown, callbacks, train_step, workers)


def _train(
    run: RunDirectory,
    config: RunConfig,
    progress: Progress,
    callbacks: Sequence[Any],
    train_step: Any,
    workers: Workers | None,
) -> Run:
    """Train a run, here or by workers of its cluster, and return it."""
    with uploading(run.path, progress.say):
        if config.workers > 1:
            train_on_cluster(run, progress)
        else:
            train(run, progress, callbacks, train_step, workers)
    return Run(run.path)


def follow(
    workers: Workers,
    progress: Progress,
    data: Path | None = None,
    config: RunConfig | None = None,
    callbacks: Sequence[Any] = (),
    train_step: Any = None,
) -> Path:
    """Train as a worker beside the first, which alone writes the run; return where that is.

    Args:
        workers: All workers.
        progress: Where to show progress.
        data: Where this worker reads the images; where the first does if not given.
        config: What it was given; what the first trains if not given, as for a run that goes on.
        callbacks: As of :func:`finetune`.
        train_step: Likewise.

    Raises:
        TlearnError: As :func:`finetune`, and if the workers cannot train together.
    """
    config = _checked(config, data) if config and data else None
    with beside_the_first(workers, data, config) as (run, path):
        train(run, progress, callbacks, train_step, workers)
    progress.say(f"{workers.name(0)} has written the run {str(path)!r}")
    return path


def demo(
    out: str | Path | None = None, *, quiet: bool = False, progress: Progress | None = None
) -> Run:
    """Draw a small set of pictures and train on it.

    Takes the default backbone or, if its weights are not on this machine, another whose are; where
    none are and none can be downloaded, it starts from random ones.

    Args:
        out: Folder to make, for ``photos`` and ``run``; ``tlearn-demo`` if not given.
        quiet: Show nothing while it works.
        progress: Where to show progress instead of standard error.

    Raises:
        RunError: If the folder exists, or cannot be written.
    """
    progress = progress or console_progress(quiet)
    folder = Path(out) if out else free_name("tlearn-demo", Path())
    check_free(folder)
    progress.say(f"drawing pictures into {folder / 'photos'}")
    with os_errors_as(RunError, f"{str(folder)!r} cannot be written", "choose another --out"):
        photos = draw_sample(folder / "photos", progress)
    here, backbone = backbones_with_weights(), RunConfig().backbone
    if here and backbone not in here:
        backbone = here[0]
    try:
        return finetune(photos, folder / "run", progress=progress, backbone=backbone)
    except BackboneError as error:
        progress.say(f"starting from random weights, so expect a low accuracy: {error}")
        return finetune(photos, folder / "run", weights="none", progress=progress)
