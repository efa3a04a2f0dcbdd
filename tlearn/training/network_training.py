"""One training: prepare activations, fit the probe, train the stages."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np

from tlearn.config import Stage
from tlearn.data.prefetch import batched
from tlearn.errors import ConfigError
from tlearn.features.activation_cache import Cache
from tlearn.features.built_backbone import FEATURES, Tap
from tlearn.runs.metrics import with_interval
from tlearn.training.execution_plan import ExecutionPlan, plan_activations
from tlearn.training.feed import Feed
from tlearn.training.loop import Training, check_state, run_stages
from tlearn.training.network import Network, copies
from tlearn.training.probe import Probe, fit_probe, fits, sample, sample_size
from tlearn.training.rules import ValidationScore
from tlearn.training.setup import Setup
from tlearn.training.stages import REFINEMENT, plan
from tlearn.training.state import Checkpoint, StageResult, TrainingPlan, TrainingState

BATCH = 64  # views whose features are read together


def train_network(
    setup: Setup,
    cache: Cache,
    callbacks: Callable[[Stage], Sequence[Any]],
    checkpoint: Checkpoint,
    resumed: TrainingState | None = None,
) -> tuple[Network, TrainingState]:
    """Train on the splits, from cached activations or from streamed pixels.

    A resumed training continues with its stages and views, without fitting the probe again.

    Returns:
        The network with its best weights, and the last state.

    Raises:
        DataError: If an image can no longer be read.
        ConfigError: If a head that started at random diverged.
    """
    network = None
    if resumed is not None:
        try:
            network = _network_of(setup, resumed)
        except (ValueError, LookupError) as error:
            checkpoint.reject(error)
            setup.log("resumed", stage="probe", epoch=0, epochs=0)
            resumed = None
    start = time.monotonic()
    with setup.clock.part("activations"):
        execution = plan_activations(setup, cache, resumed)
    rate = execution.computed / (time.monotonic() - start)
    setup.log("activations", computed=execution.computed, keeping=execution.costs.keeping)
    if network is None or resumed is None:
        rates = {"activation_views": rate} if execution.computed else {}
        network, execution, resumed = _start_from_probe(setup, execution, rates)
        checkpoint.update(resumed)
    training = Training(
        network,
        execution.stages,
        _feeds(setup, execution, network),
        setup.targets,
        setup.progress,
        callbacks,
        execution.activations.choice.precision,
        setup.deadline,
    )
    with setup.clock.part("stages"):
        try:
            state = run_stages(training, resumed, _recorder(setup, checkpoint))
        except ConfigError:
            checkpoint.remove()
            raise
    with contextlib.suppress(KeyboardInterrupt):
        checkpoint.flush()
    return network, state


def _recorder(setup: Setup, checkpoint: Checkpoint) -> Callable[[TrainingState], None]:
    """Return what logs and saves every next state."""

    def record(state: TrainingState) -> None:
        result = state.results[-1]
        if state.epoch and not state.stopped:
            setup.log("epoch", **result.history[-1])
        else:
            accuracy = result.score.accuracy
            setup.log("stage", name=result.name, accuracy=accuracy, improved=result.improved)
        if not state.stopped:
            checkpoint.update(replace(state, seconds=setup.clock.seconds()))

    return record


def _network_of(setup: Setup, state: TrainingState) -> Network:
    """Return the network of a training that is continued.

    Raises:
        ValueError: If the state is of another network.
        LookupError: Likewise.
    """
    built, config = setup.built, setup.config
    taps = [tap for tap in built.taps if tap.name in state.plan.taps]
    network = Network(built, taps, len(setup.splits.labels), config.head, config.seed)
    check_state(network, plan(state.plan.stages, built), state)
    titles = [stage.title for stage in state.plan.stages]
    stage = titles[state.stage] if state.stage < len(titles) else ""
    setup.log("resumed", stage=stage, epoch=state.epoch, epochs=len(state.history))
    where = f"in stage {stage!r} after {state.epoch} epochs of it" if stage else "at the end"
    setup.progress.say(f"continuing {where}")
    return network


def _start_from_probe(
    setup: Setup, execution: ExecutionPlan, rates: dict[str, float]
) -> tuple[Network, ExecutionPlan, TrainingState]:
    """Fit the probe and make it the head; return the first state."""
    config, progress = setup.config, setup.progress
    with setup.clock.part("probe"):
        network, score, complete = _head(setup, execution)
    accuracy = with_interval(score.accuracy, len(setup.splits.validation))
    progress.say(f"probe: validation accuracy {accuracy}")
    if not (complete or execution.stages):  # nothing else would ever see the other images
        execution = replace(execution, stages=plan((REFINEMENT,), setup.built))
    started = not config.head.hidden  # else the probe could not be made the head
    seconds = setup.clock.seconds()
    probe = StageResult("probe", "head", 0, seconds["probe"], score, improved=started)
    decided = TrainingPlan(
        tuple(p.stage for p in execution.stages),
        execution.views,
        tuple(tap.name for tap in network.taps),
        probe,
        rates,
        execution.costs,
    )
    arrays = {"best": copies(network.changing(())), "seeds": network.seeds}
    state = TrainingState(decided, best=score if started else None, seconds=seconds, arrays=arrays)
    return network, execution, state


def _head(setup: Setup, execution: ExecutionPlan) -> tuple[Network, ValidationScore, bool]:
    """Fit the probe and make it the head.

    Returns:
        The network, the probe's score, and whether the probe was fitted on all images.
    """
    config, splits, activations = setup.config, setup.splits, execution.activations
    taps, probe, count = _probe(setup, execution)
    network = Network(setup.built, taps, len(splits.labels), config.head, config.seed)
    checks = [(f, 0) for f in splits.validation]
    logits = [  # a batch at a time: features take a hundred times as much as logits
        probe.logits(arrays[FEATURES][:, network.columns])
        for arrays in activations.batches(batched(checks, BATCH), [FEATURES])
    ]
    score = ValidationScore.of(setup.targets.validation, np.concatenate(logits))
    if config.head.hidden:
        network.standardise_by(probe.mean, probe.scale)
    else:
        network.start_from(probe)
    setup.log(
        "probe",
        taps=[tap.name for tap in taps],
        strength=probe.strength,
        accuracy=score.accuracy,
        cross_validated=probe.accuracy,
        images=count,
    )
    return network, score, count == len(splits.train)


def _probe(setup: Setup, execution: ExecutionPlan) -> tuple[tuple[Tap, ...], Probe, int]:
    """Fit the probe on several depths, on the top, or on what cross-validation prefers.

    Returns:
        The taps it sees, the probe, and the number of images it was fitted on.
    """
    config, splits, targets = setup.config, setup.splits, setup.targets
    taps, classes = setup.built.taps, len(splits.labels)
    width = sum(tap.width for tap in taps)
    most, views = sample_size(len(splits.train), execution.views, width, classes)
    positions = sample(targets.train, most, config.seed)
    files = [splits.train[i] for i in positions.tolist()]
    y = targets.train[positions]
    items = [(f, view) for f in files for view in range(views)]
    features = execution.activations.rows(items, FEATURES).reshape(len(files), views, -1)
    groups = [f.group or f.content for f in files]
    weights = dict(enumerate(targets.class_weights.tolist()))
    choices = {"multi": [taps], "top": [taps[-1:]], "auto": [taps, taps[-1:]]}
    wanted, fitted = choices[config.head.taps], []
    with setup.progress.task("fitting the probe", fits(len(wanted)), "fits") as task:
        for chosen in wanted:
            width = sum(tap.width for tap in chosen)  # the top's features are the last
            probe = fit_probe(features[..., -width:], y, groups, weights, config.seed, task.advance)
            fitted.append((chosen, probe))
    taps, probe = min(fitted, key=lambda pair: pair[1].log_loss)
    return taps, probe, len(files)


def _feeds(
    setup: Setup, execution: ExecutionPlan, network: Network
) -> Callable[[int], tuple[Feed, Feed]]:
    """Return what gives the training and the validation feed of a stage by its position."""
    past = list(accumulate((p.stage.epochs for p in execution.stages), initial=0))
    splits, seed, views = setup.splits, setup.config.seed, execution.views

    def feeds(number: int) -> tuple[Feed, Feed]:
        boundary = execution.stages[number].boundary
        columns = network.columns_below(boundary)
        source = (execution.activations, boundary, columns)
        return (
            Feed(*source, splits.train, views, seed, past[number]),
            Feed(*source, splits.validation, 1, seed),
        )

    return feeds
