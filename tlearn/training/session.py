"""One training: prepare activations, fit the probe, train the stages."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np

from tlearn.config import RunConfig, Stage
from tlearn.data.splits import Splits
from tlearn.features.activation_cache import Cache
from tlearn.features.built_backbone import FEATURES, BuiltBackbone, Tap
from tlearn.progress import Progress
from tlearn.training.costs import PROBE_VIEWS, Costs
from tlearn.training.execution_plan import ExecutionPlan, ResumePoint, prepare
from tlearn.training.feed import Feed
from tlearn.training.loop import Conditions, Listener, Targets, train
from tlearn.training.network import Network
from tlearn.training.probe import Probe, fit_probe, sample
from tlearn.training.stage_runner import check
from tlearn.training.stages import REFINEMENT, Plan, plan
from tlearn.training.state import Checkpointer, StageResult, TrainingPlan, ValidationScore

PART = 1024  # images whose features are looked at together
PROBE_NUMBERS = 8_000_000  # features times views times images: memory is bounded by it
PER_CLASS, MANY = 10, 2000  # images of each class that it sees all the same, up to so many in all


@dataclass(frozen=True)
class Trained:
    """What a training leaves.

    Attributes:
        network: With the best weights found.
        stages: The probe and every stage begun.
        stopped: Whether the user stopped it.
        rates: Views computed per second, where any were.
        costs: What was estimated before.
    """

    network: Network
    stages: list[StageResult]
    stopped: bool
    rates: dict[str, float]
    costs: Costs

    @property
    def history(self) -> list[dict[str, Any]]:
        """One row per epoch, over all stages."""
        return [row for result in self.stages for row in result.history]


def train_network(
    config: RunConfig,
    built: BuiltBackbone,
    plans: Sequence[Plan],
    splits: Splits,
    cache: Cache,
    progress: Progress,
    tell: Listener,
    callbacks: Callable[[Stage], Sequence[Any]] = lambda stage: (),
    start: float | None = None,
    checkpointer: Checkpointer | None = None,
) -> Trained:
    """Train on the splits, from kept activations or from streamed pixels.

    Where the keeper has found a checkpoint, the training goes on from there: with its stages and
    views, whatever time there is now, and without fitting the probe again.

    Args:
        config: The configuration, with everything filled in.
        built: The pristine backbone.
        plans: The stages.
        splits: The images; those of the test side are not touched.
        cache: Where activations are kept.
        progress: Where to show progress.
        tell: Hears of everything that happens.
        callbacks: Gives the Keras callbacks that a stage is trained with.
        start: When the time budget began, by :func:`time.monotonic`; now if not given.
        checkpointer: Keeps checkpoints and counts the seconds of the parts.

    Raises:
        DataError: If an image can no longer be read.
        ConfigError: If a head that started at random diverged.
    """
    start = time.monotonic() if start is None else start
    checkpointer = checkpointer or Checkpointer()
    targets = _targets(splits, config.class_weights)
    network, begun = _continued(checkpointer, config, built, splits, progress, tell)
    computing = time.monotonic()
    with checkpointer.clock.part("activations"):
        way = prepare(config, built, plans, splits, cache, progress, start, tell, begun)
    rate = way.computed / (time.monotonic() - computing)
    tell("activations", computed=way.computed, keeping=way.costs.keeping)
    course = checkpointer.course
    if network is None or course is None:
        with checkpointer.clock.part("probe"):
            network, score, whole = _headed(config, way, splits, targets, tell)
        progress.say(f"probe: validation accuracy {score.accuracy:.3f}")
        if not (whole or way.plans):  # nothing else would ever see the other images
            way = replace(way, plans=plan((REFINEMENT,), built))
        started = not config.head.hidden  # else the probe could not be made the head
        seconds = checkpointer.clock.seconds()["probe"]
        probe = StageResult("probe", "head", 0, seconds, score, kept=started)
        course = checkpointer.course = TrainingPlan(
            tuple(p.stage for p in way.plans),
            way.views,
            tuple(tap.name for tap in network.taps),
            probe,
            {"activation_views": rate} if way.computed else {},
            way.costs,
        )
    deadline = start + config.time_budget if config.time_budget else np.inf
    precision = way.kept.choice.precision
    conditions = Conditions(progress, tell, callbacks, precision, deadline, checkpointer)
    feeds = _feeds(way, network, splits, config.seed)
    way.kept.pristine = False
    best = course.probe.score if course.probe.kept else None
    with checkpointer.clock.part("stages"):
        results, stopped = train(network, way.plans, feeds, targets, best, conditions)
    return Trained(network, [course.probe, *results], stopped, course.rates, course.costs)


def _continued(
    checkpointer: Checkpointer,
    config: RunConfig,
    built: BuiltBackbone,
    splits: Splits,
    progress: Progress,
    tell: Listener,
) -> tuple[Network | None, ResumePoint | None]:
    """Return the network and what holds for a training that is continued from a checkpoint."""
    found = checkpointer.found
    if found is not None:
        at, course = found.at, found.at.course
        try:
            taps = [tap for tap in built.taps if tap.name in course.taps]
            network = Network(built, taps, len(splits.labels), config.head, config.seed)
            whole = plan(course.stages, built)
            check(network, whole, found)
        except (ValueError, LookupError) as error:
            checkpointer.reject(error)
        else:
            rows = sum(len(result.history) for result in at.results)
            titles = [stage.title for stage in course.stages]
            stage = titles[at.stage] if at.stage < len(titles) else ""
            tell("resumed", stage=stage, epoch=at.epoch, epochs=rows)
            where = f"in stage {stage!r} after {at.epoch} epochs of it" if stage else "at the end"
            progress.say(f"continuing {where}")
            return network, ResumePoint(whole, course.views, _left(whole, at.stage, at.epoch))
    if checkpointer.resumes:
        tell("resumed", stage="probe", epoch=0, epochs=0)
    return None, None


def _left(plans: Sequence[Plan], number: int, epoch: int) -> list[Plan]:
    """Return what is left to train of some stages."""
    left = list(plans[number:])
    if left and epoch:
        epochs = left[0].stage.epochs - epoch
        stage = left[0].stage.model_copy(update={"epochs": epochs})
        left[0] = replace(left[0], stage=stage)
    return left


def _headed(
    config: RunConfig, way: ExecutionPlan, splits: Splits, targets: Targets, tell: Listener
) -> tuple[Network, ValidationScore, bool]:
    """Fit the probe and make it the head.

    Returns:
        The network, the probe's score, and whether the probe was fitted on all images.
    """
    kept = way.kept
    taps, probe, count = _probe(config, way, splits, targets)
    network = Network(kept.built, taps, len(splits.labels), config.head, config.seed)
    checks = [(f, 0) for f in splits.validation]
    logits = [  # a part at a time: features take a hundred times as much as logits
        probe.logits(kept.rows(checks[i : i + PART], FEATURES, network.columns))
        for i in range(0, len(checks), PART)
    ]
    score = ValidationScore.of(targets.validation, np.concatenate(logits))
    if config.head.hidden:
        network.standardise_by(probe.mean, probe.scale)
    else:
        network.start_from(probe)
    tell(
        "probe",
        taps=[tap.name for tap in taps],
        strength=probe.strength,
        accuracy=score.accuracy,
        cross_validated=probe.accuracy,
        images=count,
    )
    return network, score, count == len(splits.train)


def _feeds(
    way: ExecutionPlan, network: Network, splits: Splits, seed: int
) -> Callable[[Plan], tuple[Feed, Feed]]:
    """Return what gives the training and the validation feed of a stage."""
    lengths = accumulate((p.stage.epochs for p in way.plans), initial=0)
    past = {id(p): epochs for p, epochs in zip(way.plans, lengths, strict=False)}

    def feeds(p: Plan) -> tuple[Feed, Feed]:
        columns = network.columns_below(p.boundary)
        return (
            Feed(way.kept, p.boundary, columns, splits.train, way.views, seed, past[id(p)]),
            Feed(way.kept, p.boundary, columns, splits.validation, 1, seed),
        )

    return feeds


def _targets(splits: Splits, mode: str) -> Targets:
    """Return class indices, and weights of 1 or inversely proportional to the class's images."""
    y = [
        np.array([splits.labels.index(f.label) for f in files])
        for files in (splits.train, splits.validation)
    ]
    counts = np.bincount(y[0], minlength=len(splits.labels))
    balanced = mode == "balanced" or (mode == "auto" and counts.max() > 2 * counts.min())
    weights = counts.mean() / counts if balanced else np.ones(len(counts))
    return Targets(y[0], y[1], weights.astype(np.float32))


def _probe(
    config: RunConfig, way: ExecutionPlan, splits: Splits, targets: Targets
) -> tuple[tuple[Tap, ...], Probe, int]:
    """Fit the probe on several depths, on the top, or on what cross-validation prefers.

    Returns:
        The taps it sees, the probe, and the number of images it was fitted on.
    """
    views = max(1, min(PROBE_VIEWS, way.views))
    taps = way.kept.built.taps
    width = sum(tap.width for tap in taps)
    most = PROBE_NUMBERS // (views * width)
    if most < len(splits.train):  # other photos tell more than other views of the same
        views = 1
        most = max(PROBE_NUMBERS // width, min(PER_CLASS * len(splits.labels), MANY))
    some = sample(targets.train, most, config.seed)
    files = [splits.train[i] for i in some.tolist()]
    y = targets.train[some]
    features = way.kept.features([(f, view) for f in files for view in range(views)])
    features = features.reshape(len(files), views, -1)
    groups = [f.group or f.content for f in files]
    weights = dict(enumerate(targets.class_weights.tolist()))
    choices = {"multi": [taps], "top": [taps[-1:]], "auto": [taps, taps[-1:]]}
    fitted = []
    for chosen in choices[config.head.taps]:
        width = sum(tap.width for tap in chosen)  # the top's features stand last
        probe = fit_probe(features[..., -width:], y, groups, weights, config.seed)
        fitted.append((chosen, probe))
    taps, probe = min(fitted, key=lambda pair: pair[1].log_loss)
    return taps, probe, len(files)
