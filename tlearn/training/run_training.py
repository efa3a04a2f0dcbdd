"""The training that a run directory asks for, from the beginning or from its checkpoint.

Keras is imported by the functions that need it, after what can be checked without it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tlearn.backbones import load_registry
from tlearn.backbones.availability import check_weights
from tlearn.config import RunConfig, Stage
from tlearn.data.splits import list_dataset
from tlearn.errors import ConfigError, DataError
from tlearn.features.cluster_engine import check_cluster
from tlearn.progress import Progress
from tlearn.runs.continued_run import earlier_splits
from tlearn.runs.directory import CHECKPOINT, CHECKPOINTS, Request, RunDirectory, resume_command
from tlearn.runs.progress_log import LoggedProgress, StoppableProgress
from tlearn.runs.run_state import STOP
from tlearn.runs.tensorboard_folder import make_folder
from tlearn.schedules import SCHEDULES
from tlearn.text import shell
from tlearn.training.failures import explain_errors
from tlearn.training.joint_training import connect, end_together
from tlearn.training.stages import with_preset
from tlearn.training.stopwatch import Stopwatch
from tlearn.training.workers import Workers


def train(
    run: RunDirectory,
    shown: Progress,
    callbacks: Sequence[Any] = (),
    train_step: Any = None,
    workers: Workers | None = None,
    with_cluster: bool = True,
) -> None:
    """Do the training that a run directory asks for, from the beginning or from its checkpoint.

    Args:
        run: The run directory; of several workers, those beside the first have one that nobody
            will need.
        shown: Where to show progress.
        callbacks: As of :func:`tlearn.finetune`.
        train_step: Likewise.
        workers: All workers, of which this is one; ``None`` if it is alone.
        with_cluster: Whether a cluster computes activations, if the run has one.

    Raises:
        TlearnError: As :func:`tlearn.resume`.
    """
    with run.training():
        request, logged = run.request(), LoggedProgress(run.path, shown)
        progress = StoppableProgress(logged, run / STOP)
        _check_request(run, request)
        replicas = connect(workers, run, request, progress.say) if workers else None
        clock = Stopwatch()
        with clock.part("total"), clock.part("scan"):
            source = list_dataset(request.data, request.config.group, progress)
        # Not before all is checked: Keras takes seconds.
        from tlearn.features.activation_cache import open_cache
        from tlearn.training.network_training import train_network
        from tlearn.training.own_step import model_class_of
        from tlearn.training.replicas import Replicas
        from tlearn.training.results import check_unchanged, write_record, write_results
        from tlearn.training.setup import read_setup
        from tlearn.training.split_step import split_step
        from tlearn.training.state import Checkpoint, Unsaved

        replicas = replicas or Replicas.of(None)
        callbacks = [*callbacks, *_callbacks_of(run, request.config, progress, replicas.first)]
        model_class = model_class_of(run.path, request.config, train_step)
        if replicas.number > 1:
            model_class = split_step(replicas, model_class)
        stage_callbacks = partial(callbacks_of_stage, run.path)
        checkpoint = Checkpoint(run / CHECKPOINT, progress.say) if replicas.first else Unsaved()
        config, state = request.config, None
        if request.began:
            state = checkpoint.read()
            if state is None:
                run.event("resumed", stage="probe", epoch=0, epochs=0)
        else:
            config = filled_in(config, callbacks)
        clock.earlier = state.seconds if state else {}
        with clock.part("total"), open_cache(config, progress.say) as cache:
            earlier = earlier_splits(run, config)
            setup = read_setup(config, source, cache, progress, clock, run.event, earlier)
            setup = dataclasses.replace(setup, replicas=replicas)
            if not with_cluster:
                setup.activations.cluster = ""
            if request.began:
                check_unchanged(run, request, setup)
            with explain_errors(run, config, checkpoint, progress, workers):
                replicas.check_same(photos=setup.manifest.digest, weights=setup.built.digest)
                write_record(run, setup, request)
                network, state = train_network(
                    setup, callbacks, stage_callbacks, checkpoint, state, model_class
                )
                run.event("step", step="measuring")
                # What is saved now is not broken off by a request to stop.
                saving = dataclasses.replace(setup, progress=logged)
                if replicas.first:
                    write_results(run, saving, network, state)
                end_together(replicas)
        seconds = round(clock.seconds()["total"], 3)
        run.event("stopped" if state.stopped else "finished", seconds=seconds)
    if state.stopped:
        progress.say(f"stopped; to continue: {resume_command(run.path)}")


def compute_activations(run: RunDirectory, shown: Progress) -> None:
    """Cache the activations that a training needs, before its workers take the processors.

    Raises:
        TlearnError: As :func:`train`.
    """
    with run.training():
        request = run.request()
        progress = StoppableProgress(LoggedProgress(run.path, shown), run / STOP)
        _check_request(run, request)
        source = list_dataset(request.data, request.config.group, progress)
        from tlearn.features.activation_cache import open_cache
        from tlearn.training.execution_plan import prepare_activations
        from tlearn.training.setup import read_setup
        from tlearn.training.state import Checkpoint

        config, state = request.config, None
        if request.began:
            state = Checkpoint(run / CHECKPOINT, progress.say).read()
        else:
            config = filled_in(config)
        with open_cache(config, progress.say) as cache:
            earlier = earlier_splits(run, config)
            setup = read_setup(config, source, cache, progress, earlier=earlier)
            prepare_activations(setup, state)


def _check_request(run: RunDirectory, request: Request) -> None:
    """Refuse what cannot be trained, before anything is read.

    Raises:
        DataError: If the images are gone.
        BackboneError: If the weights are not to be had.
        ClusterError: If the cluster cannot compute.
    """
    if not request.data.exists():
        raise DataError(
            f"the images of the run {str(run.path)!r} are no longer in {str(request.data)!r}; "
            f"put them back, or train anew with 'tlearn finetune'"
        )
    wanted = request.config
    backbone = load_registry().get(wanted.backbone)
    check_weights(backbone, wanted.weights, resumed=request.began)
    check_cluster(wanted.cluster, [wanted.backbone], wanted.engine, wanted.precision)


def filled_in(config: RunConfig, callbacks: Sequence[Any] = ()) -> RunConfig:
    """Return a configuration with the defaults of backbone and preset in, its stages checked.

    Raises:
        TlearnError: If something given cannot be used.
    """
    from tlearn.training.compile import check_arguments

    config = with_preset(config, *load_registry().check(config))
    for stage in config.stages or ():
        check_arguments(stage)
        check_callbacks(callbacks, stage)
    return config


def _callbacks_of(
    run: RunDirectory, config: RunConfig, progress: Progress, first: bool
) -> Iterator[Any]:
    """Yield the callbacks that a configuration asks for, to which all stages are one fit.

    Those that write into the run are for the worker whose run it is.
    """
    from tlearn.training.callbacks import EpochSaver, callbacks_of
    from tlearn.training.tensorboard_log import TensorBoardLog

    if config.callbacks:
        yield from callbacks_of(Path(config.callbacks))
    if config.checkpoint.every and first:
        yield EpochSaver(run / CHECKPOINTS, config.checkpoint)
    if config.tensorboard and first:
        yield TensorBoardLog(make_folder(run, config.tensorboard), progress.say)
        progress.say(f"to watch it: {shell('tlearn', 'tensorboard', run.path)}")


def callbacks_of_stage(folder: Path, stage: Stage) -> Sequence[Any]:
    """Return the callbacks of plugins for a stage, which may write into a folder.

    Raises:
        ConfigError: If there is one that cannot work.
    """
    callbacks = load_registry().callbacks(stage, folder)
    check_callbacks(callbacks, stage)
    return callbacks


def check_callbacks(callbacks: Sequence[Any], stage: Stage) -> None:
    """Refuse callbacks that cannot work, or that set a learning rate which the schedule sets.

    Raises:
        ConfigError: If there is one.
    """
    if not callbacks:
        return
    from tlearn.keras_import import keras

    kinds = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise ConfigError(f"callbacks takes Keras callbacks. Received: {callback!r}")
        if isinstance(callback, keras.callbacks.TensorBoard) and not find_spec("tensorboard"):
            raise ConfigError("the callback TensorBoard needs its package: pip install tensorboard")
        if isinstance(callback, kinds) and SCHEDULES[stage.schedule.name].sets_rate:
            raise ConfigError(
                f"the callback {type(callback).__name__} sets the learning rate, and so does the "
                f"schedule {stage.schedule.name!r} of the stage {stage.title!r}; give the stages "
                f"schedule: constant, or leave the callback out"
            )
