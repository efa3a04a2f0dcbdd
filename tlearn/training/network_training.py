"""One training: prepare activations, fit the probe, train the stages."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tlearn.config import Stage
from tlearn.errors import ConfigError
from tlearn.features.built_backbone import FEATURES, Tap
from tlearn.features.image_views import ImageViews
from tlearn.keras_import import keras
from tlearn.runs.measurement import with_interval
from tlearn.runs.temperature_effect import calibration_of
from tlearn.text import epochs_text, percent
from tlearn.training.costs import Costs
from tlearn.training.execution_plan import prepare_activations
from tlearn.training.feed import batch_size
from tlearn.training.folds import assign_folds
from tlearn.training.headroom import expected_error, has_headroom
from tlearn.training.large_sets import most_images, refit
from tlearn.training.loop import check_state, run_stages
from tlearn.training.network import Network, assign, copies
from tlearn.training.probe import Probe, fit_on_taps, sample, sample_of_classes, sample_size
from tlearn.training.regression import EPSILON
from tlearn.training.score import ValidationScore
from tlearn.training.setup import Setup
from tlearn.training.shares import mean_probabilities, shares_of
from tlearn.training.stage_fit import Training
from tlearn.training.stages import plan_stages, required_stages
from tlearn.training.state import (
    Checkpoint,
    Member,
    StageResult,
    TrainingPlan,
    TrainingState,
    from_bytes,
    to_bytes,
)
from tlearn.training.temperature import cross_fitted, temperature_of

BATCH = 64  # views whose features are read together
FOLDS = 5  # of validation, in which calibration is measured


def train_network(
    setup: Setup,
    callbacks: Sequence[Any],
    stage_callbacks: Callable[[Stage], Sequence[Any]],
    checkpoint: Checkpoint,
    resumed: TrainingState | None = None,
    model_class: Any = keras.Model,
) -> tuple[Network, TrainingState]:
    """Train on the splits, from cached activations or from streamed pixels.

    A resumed training continues with its stages and views, without fitting the probe again.

    Returns:
        The network with its best weights, and the last state. Of several workers, the first alone
        has the model that averages networks.

    Raises:
        DataError: If an image can no longer be read.
        ConfigError: If a head that started at random diverged, or batches are too small to split.
    """
    network = None
    for plan in setup.stages:
        size = batch_size(len(setup.splits.train), plan.stage.batch_size)
        setup.replicas.check_batch(size, plan.stage.title)
    if resumed is not None:
        try:
            network = _network_of(setup, resumed)
            _announce(setup, resumed)
        except (ValueError, LookupError) as error:
            checkpoint.reject(error)
            setup.log("resumed", stage="probe", epoch=0, epochs=0)
            resumed = None
    setup.log("step", step="computing")
    start = time.monotonic()
    with setup.clock.part("activations"):
        setup, costs, computed = prepare_activations(setup, resumed)
    rate = computed / (time.monotonic() - start)
    setup.log("activations", computed=computed, streaming=costs.streaming)
    setup.log("step", step="training")
    if not setup.replicas.first:
        setup, network, resumed = _like_the_first(setup)
    elif network is None or resumed is None:
        rates = {"activation_views": rate} if computed else {}
        setup, network, resumed = start_from_probe(setup, costs, rates)
        checkpoint.update(resumed)
    if setup.replicas.workers and setup.replicas.first:
        setup.replicas.sent_by(0, to_bytes(resumed))

    def record(state: TrainingState) -> None:
        result = state.results[-1]
        if state.epoch and not state.stopped:
            setup.log("epoch", **result.history[-1], best=state.best and state.best.accuracy)
        else:
            accuracy = result.score.accuracy
            setup.log("stage", name=result.name, accuracy=accuracy)
        if not state.stopped:
            checkpoint.update(replace(state, seconds=setup.clock.seconds()))

    with setup.clock.part("stages"):
        training = Training(setup, network, callbacks, stage_callbacks, record, model_class)
        state = run_stages(training, resumed)
    if state.best is None and not state.stopped:
        checkpoint.remove()
        raise ConfigError(
            f"the training of the head diverged in stage {state.results[-1].name!r}; give its "
            f"stages a lower learning_rate"
        )
    if not setup.replicas.first:
        return network, state
    state = _make_classifier(setup, network, state)
    with contextlib.suppress(KeyboardInterrupt):
        checkpoint.flush()
    return network, state


def _make_classifier(setup: Setup, network: Network, state: TrainingState) -> TrainingState:
    """Make the model of the networks that are better together; return the state with its score."""
    if not state.members:  # it was stopped before the head, which began at random, was trained
        return state
    y, every = setup.targets.validation, state.members
    both = zip(every, shares_of(y, [member.logits for member in every]), strict=True)
    members, shares = zip(*[(member, share) for member, share in both if share], strict=True)
    *others, last = [member.weights for member in members]
    variables = network.changing(plan.trainable for plan in setup.stages)
    assign(variables, last)
    if others:
        boundaries = [plan.boundary for plan in setup.stages if plan.boundary]
        lowest = min(boundaries, key=lambda boundary: boundary.index, default=None)
        network.average_with(others, shares, variables, lowest)
    logits = [member.logits for member in members]
    temperature = temperature_of(y, logits, shares)
    network.divide_logits(temperature)
    p = mean_probabilities(logits, shares, temperature)
    return replace(
        state,
        best=ValidationScore.of(y, np.log(p + EPSILON)),
        shares={m.number: float(share) for m, share in zip(members, shares, strict=True)},
        calibration=_calibration(setup, logits, shares, temperature),
    )


def _calibration(
    setup: Setup, members: Sequence[np.ndarray], shares: Sequence[float], temperature: float
) -> dict[str, Any]:
    """Return what a temperature does for the probabilities of validation; nothing of one group."""
    y, files = setup.targets.validation, setup.splits.validation
    groups = files.units()
    folds = assign_folds(y, groups, min(FOLDS, len(set(groups))), setup.config.seed)
    if len(np.unique(folds)) < 2:
        return {}
    before, after = mean_probabilities(members, shares), cross_fitted(y, members, shares, folds)
    return calibration_of(y, before, after, temperature)


def _network_of(setup: Setup, state: TrainingState) -> Network:
    """Return the network of a training that is continued.

    Raises:
        ValueError: If the state is of another network.
        LookupError: Likewise.
    """
    built, stages = setup.built, state.plan.stages
    taps = [tap for tap in built.taps if tap.name in state.plan.taps]
    network = Network(built, taps, len(setup.splits.labels), setup.config.head, setup.config.seed)
    check_state(network, plan_stages(stages, built), state)
    return network


def _announce(setup: Setup, state: TrainingState) -> None:
    """Log and say where a training is continued."""
    stages = state.plan.stages
    stage = stages[state.stage_index].title if state.stage_index < len(stages) else ""
    setup.log("resumed", stage=stage, epoch=state.epoch, epochs=len(state.history))
    where = f"in stage {stage!r} after {epochs_text(state.epoch)} of it" if stage else "at the end"
    setup.progress.say(f"continuing {where}")


def _like_the_first(setup: Setup) -> tuple[Setup, Network, TrainingState]:
    """Return setup, network and state of the worker that has fitted the probe or a checkpoint."""
    state = from_bytes(setup.replicas.sent_by(0, b""))
    seeds = setup.replicas.varied(state.arrays["seeds"])
    state = replace(state, arrays={**state.arrays, "seeds": seeds})
    stages = plan_stages(state.plan.stages, setup.built)
    setup = replace(setup, stages=stages, views=state.plan.views)
    return setup, _network_of(setup, state), state


def start_from_probe(
    setup: Setup, costs: Costs, rates: dict[str, float]
) -> tuple[Setup, Network, TrainingState]:
    """Fit the probe and make it the head.

    Returns:
        The setup with the stages that could pay, the network and its first state.
    """
    config, splits, built = setup.config, setup.splits, setup.built
    with setup.clock.part("probe"):
        taps, probe, images = _fit_probe(setup)
        network = Network(built, taps, len(splits.labels), config.head, config.seed)
        checks = ImageViews(splits.validation).batches(BATCH)
        at_random, logits_of = False, probe.logits
        if not config.head.is_random:
            network.start_from(probe)
        elif setup.carried is None:  # the probe could not be made such a head
            at_random = True
            network.standardise_by(probe.mean, probe.scale)
        else:
            setup.carried.into(network, splits.labels)
            logits_of = network.suffix(None).predict_on_batch
        parts = [  # a batch at a time: features take a hundred times as much as logits
            logits_of(arrays[FEATURES][:, network.columns])
            for arrays in setup.activations.batches(checks, [FEATURES])
        ]
        logits = np.concatenate(parts)
        score = ValidationScore.of(setup.targets.validation, logits)
    names, estimate = tuple(tap.name for tap in taps), probe.cross_validation
    best = None if at_random else score
    setup.log(
        "probe",
        taps=names,
        strength=estimate.strength,
        accuracy=score.accuracy,
        cross_validated=estimate.accuracy,
        images=images,
        best=best and best.accuracy,
    )
    accuracy = with_interval(score.accuracy, len(splits.validation))
    setup.progress.say(f"probe: validation accuracy {accuracy}")
    seconds = setup.clock.seconds()
    result = StageResult("probe", "head", 0, seconds["probe"], score)
    setup = _with_headroom(setup, expected_error(estimate, score.accuracy, len(splits.validation)))
    stages = tuple(p.stage for p in setup.stages)
    plan = TrainingPlan(stages, setup.views, names, result, rates, costs)
    weights = copies(network.changing(p.trainable for p in setup.stages))
    state = TrainingState(plan, seconds=seconds, arrays={"seeds": network.seeds})
    if best is None:
        state = replace(state, arrays={**state.arrays, "initial": weights})
    else:
        state = replace(state, best=best, best_number=0).with_member(Member(0, weights, logits))
    return setup, network, state


def _with_headroom(setup: Setup, error: float) -> Setup:
    """Return the setup without stages that could not be seen to improve on the probe."""
    images, required = len(setup.splits.validation), required_stages(setup.stages)
    if required == setup.stages or setup.config.head.is_random or has_headroom(error, images):
        return setup
    setup.log("no_headroom", error=error)
    setup.progress.say(
        f"the probe is expected to get {percent(error)} of new photos wrong, {error * images:.0f} "
        f"of the {images} for validation: an improvement could hardly be seen, so the network is "
        f"not fine-tuned; --preset balanced fine-tunes it all the same"
    )
    return replace(setup, stages=required)


def _fit_probe(setup: Setup) -> tuple[tuple[Tap, ...], Probe, int]:
    """Return the taps that the probe sees, the probe, and on how many images it was fitted.

    Its taps and strength are chosen on a sample where there are many images.
    """
    config, files, targets = setup.config, setup.splits.train, setup.targets
    taps = setup.built.taps
    width = sum(tap.width for tap in taps)
    weights = targets.class_weights.tolist()
    most, views = sample_size(len(files), setup.views, width)
    positions = sample_of_classes(targets.train, most, config.seed)
    sampled = files[positions]
    labels, shown = targets.train[positions], ImageViews.of(sampled, views)
    start = setup.start_of_probe(sampled)
    chosen, probe = fit_on_taps(
        setup.activations.rows(shown, FEATURES).reshape(len(sampled), views, -1),
        taps,
        config.head.taps,
        labels,
        sampled.units(),
        weights,
        config.seed,
        setup.progress,
        start,
    )
    if len(sampled) == len(files):
        return chosen, probe, len(files)
    width = len(probe.mean)
    positions = sample(targets.train, most_images(width), config.seed)
    plain = ImageViews(files[positions])
    batches = setup.activations.batches(plain.batches(BATCH), [FEATURES])
    columns = (arrays[FEATURES][:, -width:] for arrays in batches)  # the top's are the last
    probe = refit(probe, labels, columns, targets.train[positions], weights, setup.progress, start)
    return chosen, probe, len(positions)
