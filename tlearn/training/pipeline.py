"""``finetune``: the way from a folder to a run.

Keras is imported by the functions that need it, after everything that can be checked without it.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tlearn import __version__
from tlearn.backbones import load_registry
from tlearn.config import RunConfig, Stage
from tlearn.data.scan import check_folder
from tlearn.errors import ConfigError, TlearnError
from tlearn.progress import Progress, console_progress
from tlearn.runs.directory import CHECKPOINT, RunDirectory, check_free, free_name
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
        out: The run directory to make; ``runs/<name of the data>`` if not given.
        config: A configuration or a YAML file of one.
        quiet: Show nothing while it works.
        progress: Where to show progress instead of standard error.
        callbacks: Keras callbacks; every stage is a fit of its own to them.
        **options: Fields of :class:`tlearn.RunConfig`; they win over ``config``.

    Returns:
        The finished run.

    Raises:
        TlearnError: If something given cannot be used; nothing is left behind, unless it turns out
            when stages were trained already: then the run stays, marked as unfinished, and
            :func:`tlearn.resume` continues it.

    Example:
        >>> run = tlearn.finetune("photos", backbone="mobilenet_v2")  # doctest: +SKIP
    """
    settings, registry = make_config(config, options=options), load_registry()
    settings = with_preset(settings, *registry.check(settings))
    for stage in settings.stages or ():
        check_callbacks(callbacks, stage)
    data, progress = Path(data), progress or console_progress(quiet)
    target = Path(out) if out else free_name(data.resolve().name)
    check_free(target)
    check_folder(data)
    return train(settings, data, target, progress, callbacks)


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


def train(
    config: RunConfig, data: Path, out: Path, progress: Progress, callbacks: Sequence[Any] = ()
) -> Run:
    """Do the whole training: read, fit the probe, train the stages, save, measure.

    Raises:
        TlearnError: As :func:`finetune`.
    """
    from tlearn.training.setup import read_setup
    from tlearn.training.state import Checkpoint

    clock = Stopwatch()
    with clock.part("total"):
        setup = read_setup(config, data, progress, clock)
        run = RunDirectory.create(out)
        try:
            run.write("run.yaml", _record(setup))
            checkpoint = Checkpoint(run / CHECKPOINT, progress.say)
            return complete(run, setup, checkpoint, callbacks)
        except BaseException:
            if any((run / name).exists() for name in ("model.keras", CHECKPOINT)):
                run.leave()
            else:
                run.discard()
            raise


def complete(
    run: RunDirectory,
    setup: Setup,
    checkpoint: Checkpoint,
    callbacks: Sequence[Any] = (),
    resumed: TrainingState | None = None,
) -> Run:
    """Train, from the beginning or from where a training stands, and write what comes of it."""
    from tlearn.features.activation_cache import Cache, default_root
    from tlearn.training.network_training import train_network
    from tlearn.training.results import write_results, write_splits

    setup = replace(setup, log=run.event)
    config, progress, clock = setup.config, setup.progress, setup.clock
    try:
        write_splits(run, setup)
        with Cache(default_root(), config.disk_budget, progress.say) as cache:
            network, state = train_network(
                setup, cache, _callbacks(run, callbacks), checkpoint, resumed
            )
        metrics = write_results(run, setup, network, state)
        seconds = {name: round(value, 3) for name, value in clock.seconds().items()}
        run.write_json("metrics.json", metrics | {"seconds": seconds})
    except BaseException as error:
        checkpoint.flush()
        explained = explain_failure(error, config) or error
        if (run / CHECKPOINT).exists():
            _say_how_to_continue(explained, run, progress)
        if explained is error:
            raise
        raise explained from error
    run.event("stopped" if state.stopped else "finished", seconds=seconds["total"])
    run.finish(state.stopped)
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


def _record(setup: Setup) -> str:
    """Return ``run.yaml``: all that is needed to do the training again."""
    config, manifest = setup.config, setup.manifest
    plugin = load_registry().plugin_of(config.backbone)
    record = {
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
    return yaml.safe_dump(record, sort_keys=False, allow_unicode=True)


def _versions() -> dict[str, str]:
    """Return the versions of the packages that decide the numbers, of those that are installed."""
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # as OpenVINO, where it has no wheels
            continue
    return installed


def _say_how_to_continue(error: BaseException, run: RunDirectory, progress: Progress) -> None:
    """Let an error end with how the training can be continued."""
    how = f"to continue the training: tlearn finetune --resume {run.path}"
    if isinstance(error, TlearnError):
        error.args = (f"{error}; {how}",)
    elif isinstance(error, OSError) and error.strerror:
        error.strerror += f"; {how}"
    elif isinstance(error, KeyboardInterrupt):
        progress.say(how)
    else:
        error.add_note(how)
