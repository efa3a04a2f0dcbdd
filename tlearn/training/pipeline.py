"""``finetune`` and ``resume``: the way from a folder to a run.

Keras is imported by the functions that need it, after everything that can be checked without it.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlearn import __version__
from tlearn.backbones import load_registry
from tlearn.config import RunConfig, Stage
from tlearn.data.scan import check_folder
from tlearn.errors import ConfigError, DataError, RunError
from tlearn.progress import Progress, console_progress
from tlearn.runs.directory import CHECKPOINT, RUNS, Request, RunDirectory
from tlearn.runs.progress_log import RunProgress
from tlearn.runs.run import Run
from tlearn.settings import make_config
from tlearn.training.failures import explain_failure
from tlearn.training.stages import with_preset
from tlearn.training.stopwatch import Stopwatch

if TYPE_CHECKING:
    from tlearn.training.setup import Setup
    from tlearn.training.state import Checkpoint, TrainingState

PACKAGES = ("tensorflow", "keras", "openvino", "numpy", "scipy", "scikit-learn", "pillow")


def finetune(
    data: str | Path,
    out: str | Path | None = None,
    *,
    config: str | Path | RunConfig | None = None,
    quiet: bool = False,
    progress: Progress | None = None,
    callbacks: Sequence[Any] = (),
    **options: Any,
) -> Run:
    """Train a classifier on a folder of images.

    Args:
        data: Class folders, or ``train/``, ``validation/``, ``test/`` with class folders.
        out: The run directory to make; ``runs/<name of the data>``, numbered where that exists, if
            not given.
        config: A configuration or a YAML file of one.
        quiet: Show nothing while it works.
        progress: Where to show progress instead of standard error.
        callbacks: Keras callbacks; every stage is a fit of its own to them.
        **options: Fields of :class:`tlearn.RunConfig`; they win over ``config``.

    Returns:
        The finished run.

    Raises:
        TlearnError: If something given cannot be used; nothing is left behind, unless it turns out
            when stages were trained already: then the run stays, and :func:`tlearn.resume`
            continues it.

    Example:
        >>> run = tlearn.finetune("photos", backbone="mobilenet_v2")  # doctest: +SKIP
    """
    settings, registry = make_config(config, options=options), load_registry()
    settings = with_preset(settings, *registry.check(settings))
    for stage in settings.stages or ():
        check_callbacks(callbacks, stage)
    data, progress = Path(data), progress or console_progress(quiet)
    check_folder(data)
    path = Path(out) if out else RUNS / data.resolve().name
    run = RunDirectory.create(path, settings, data, numbered=out is None)
    try:
        return train(run, progress, callbacks)
    except BaseException:
        run.discard()
        raise


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
    return train(RunDirectory(Path(run)), progress or console_progress(quiet), callbacks)


def check_callbacks(callbacks: Sequence[Any], stage: Stage) -> None:
    """Refuse Keras callbacks that set a learning rate which the schedule of a stage sets.

    Raises:
        ConfigError: If there is one.
    """
    if not callbacks or stage.schedule == "constant":
        return
    from tlearn.keras_import import keras

    kinds = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)
    for callback in callbacks:
        if isinstance(callback, kinds):
            raise ConfigError(
                f"the callback {type(callback).__name__} sets the learning rate, and so does the "
                f"schedule {stage.schedule!r} of the stage {stage.title!r}; give the stages "
                f"schedule: constant, or leave the callback out"
            )


def train(run: RunDirectory, shown: Progress, callbacks: Sequence[Any] = ()) -> Run:
    """Train what a run directory asks for: from the beginning, or from where it stands.

    Raises:
        TlearnError: As :func:`resume`.
    """
    with run.training():
        request, progress = run.request(), RunProgress(run.path, shown)
        if not request.data.is_dir():
            raise DataError(
                f"the images of the run {str(run.path)!r} are no longer in {str(request.data)!r}; "
                f"put them back, or train anew with 'tlearn finetune'"
            )
        from tlearn.training.setup import read_setup
        from tlearn.training.state import Checkpoint

        checkpoint = Checkpoint(run / CHECKPOINT, progress.say)
        config, state = request.config, None
        if request.began:
            state = checkpoint.read()
            if state is None:
                run.event("resumed", stage="probe", epoch=0, epochs=0)
        else:
            registry = load_registry()
            backbone = registry.get(config.backbone)
            config = with_preset(config, backbone, registry.preset(config.preset))
        clock = Stopwatch(state.seconds if state else None)
        with clock.part("total"):
            setup = read_setup(config, request.data, progress, clock)
            if request.began:
                _check_unchanged(run, request, setup)
            else:
                run.write_record(_record(setup))
            return complete(run, setup, progress, checkpoint, callbacks, state)


def _check_unchanged(run: RunDirectory, request: Request, setup: Setup) -> None:
    """Refuse to go on with other images or weights than a run began with.

    Raises:
        DataError: If the images have changed.
        RunError: If the weights have.
    """
    file = run / "splits.csv"
    as_before = not file.exists() or file.read_bytes() == setup.splits.to_csv().encode()
    if setup.manifest.digest != request.digest or not as_before:
        raise DataError(
            f"the images in {str(request.data)!r} have changed since the run {str(run.path)!r} "
            f"began; train anew with 'tlearn finetune' and another --out"
        )
    if setup.built.digest != request.weights_digest:
        raise RunError(
            f"the weights {setup.config.weights!r} of {setup.config.backbone} are not those that "
            f"the run {str(run.path)!r} began with; bring those back, or train anew with 'tlearn "
            f"finetune' and another --out"
        )


def complete(
    run: RunDirectory,
    setup: Setup,
    progress: RunProgress,
    checkpoint: Checkpoint,
    callbacks: Sequence[Any] = (),
    resumed: TrainingState | None = None,
) -> Run:
    """Train, from the beginning or from where a training stands, and write what comes of it."""
    from tlearn.features.activation_cache import Cache, default_root
    from tlearn.training.network_training import train_network
    from tlearn.training.results import write_results, write_splits

    setup = replace(setup, log=run.event)
    config, clock = setup.config, setup.clock
    try:
        write_splits(run, setup)
        with Cache(default_root(), config.disk_budget, progress.say) as cache:
            network, state = train_network(
                setup, cache, _callbacks(run, callbacks), checkpoint, resumed
            )
        progress.ignore_stop()
        metrics = write_results(run, setup, network, state)
        seconds = {name: round(value, 3) for name, value in clock.seconds().items()}
        run.write_json("metrics.json", metrics | {"seconds": seconds})
    except BaseException as error:
        checkpoint.flush()
        explained = explain_failure(error, config) or error
        if (run / CHECKPOINT).exists():
            how = f"to continue the training: tlearn finetune --resume {run.path}"
            explained.add_note(how)
            if isinstance(explained, KeyboardInterrupt):
                progress.say(how)
        if explained is error:
            raise
        raise explained from error
    run.event("stopped" if state.stopped else "finished", seconds=seconds["total"])
    if state.stopped:
        progress.say(f"stopped; to continue: tlearn finetune --resume {run.path}")
    return Run(run.path)


def _callbacks(run: RunDirectory, given: Sequence[Any]) -> Callable[[Stage], Sequence[Any]]:
    registry = load_registry()

    def callbacks(stage: Stage) -> Sequence[Any]:
        found = [*given, *registry.callbacks(stage, run.path)]
        check_callbacks(found, stage)
        return found

    return callbacks


def _record(setup: Setup) -> dict[str, Any]:
    """Return ``run.yaml``: all that is needed to do the training again."""
    config, manifest = setup.config, setup.manifest
    plugin = load_registry().plugin_of(config.backbone)
    return {
        "config": config.model_dump(mode="json"),
        "data": {
            "path": str(manifest.root.resolve()),
            "digest": manifest.digest,
            "images": manifest.counts,
        },
        "plugin": {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
        },
        "weights_digest": setup.built.digest,
        "versions": {"tlearn": __version__, "python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    """Return the versions of the packages that decide the numbers, of those that are installed."""
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # as OpenVINO, where it has no wheels
            continue
    return installed
