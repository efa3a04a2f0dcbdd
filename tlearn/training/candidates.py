"""How well and how fast backbones do on the same photos, by their probes."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tlearn.backbones import Backbone, Preset
from tlearn.config import RunConfig
from tlearn.data.splits import Splits
from tlearn.errors import BackboneError, DataError, TlearnError
from tlearn.features.activation_cache import Cache
from tlearn.features.activations import Item
from tlearn.features.built_backbone import FEATURES, BuiltBackbone, load_backbone
from tlearn.progress import Progress
from tlearn.training.costs import (
    BENCHMARK_SECONDS,
    CostModel,
    Costs,
    OtherLoad,
    Throughput,
    cache_bytes,
    throughput,
)
from tlearn.training.execution_plan import activations_for, needed, views_in_turn
from tlearn.training.probe import CrossValidated, cross_validate, sample
from tlearn.training.stages import Plan, plan, with_preset

MOST = 2000  # training images compared on, at most: an interval of one to two points
LEAST = 20  # images per class below which a comparison says little
PROBING = 2.0  # seconds a cross-validation takes, at most, for each thousand images


@dataclass(frozen=True)
class CandidateResult:
    """How one backbone does.

    Attributes:
        positions: The training images counted.
        right: For each, whether a probe that was not fitted on it is right.
        taps: Whether the probe saw several depths or the top alone.
        images_per_second: Through decoding and the whole backbone, on this machine.
        finetune_seconds: What fine-tuning it is estimated to take from now.
        seconds: What evaluating it took.
    """

    backbone: str
    positions: np.ndarray
    right: np.ndarray
    log_loss: float
    taps: str
    images_per_second: float
    speed_is_sure: bool
    parameters: int
    finetune_seconds: float
    seconds: float

    @property
    def accuracy(self) -> float:
        """The part of the images counted that it is right about."""
        return float(self.right.mean())


@dataclass(frozen=True)
class ComparisonSetup:
    """The photos that backbones are compared on, and how they would be trained on.

    Attributes:
        config: The configuration; its backbone is each in turn.
        preset: The stages that the estimate is for.
        splits: The images; only training images are used.
        deadline: When the time is over, by :func:`time.monotonic`.
    """

    config: RunConfig
    preset: Preset
    splits: Splits
    cache: Cache
    progress: Progress
    deadline: float = np.inf

    @property
    def remaining_seconds(self) -> float:
        """Seconds until the time is over."""
        return self.deadline - time.monotonic()

    @cached_property
    def y(self) -> np.ndarray:
        """Class indices of the training images."""
        return np.array([self.splits.labels.index(f.label) for f in self.splits.train])


def evaluate_candidates(
    setup: ComparisonSetup, backbones: Sequence[Backbone]
) -> tuple[list[CandidateResult], dict[str, str], bool]:
    """Evaluate backbones one after another, on the same images.

    Within a time budget, all see as many images as it allows; where that would be too few, the
    slowest are skipped. Ctrl-C ends it with the results so far.

    Returns:
        The results, by name why the other backbones were skipped, and whether the user stopped it.

    Raises:
        BackboneError: If there is no result.
        DataError: If there are too few images.
    """
    if min(np.bincount(setup.y, minlength=len(setup.splits.labels))) < 2:
        raise DataError("a comparison needs two or more training images of every class; add some")
    most, stopped = min(MOST, len(setup.splits.train)), False
    speeds: dict[str, Throughput] = {}
    skipped: dict[str, str] = {}
    results: list[CandidateResult] = []
    try:
        if np.isfinite(setup.deadline):
            speeds, most, skipped = _affordable(setup, backbones, most)
        positions = sample(setup.y, most, setup.config.seed)
        for backbone in (b for b in backbones if b.name not in skipped):
            if setup.remaining_seconds <= 0:
                skipped[backbone.name] = "time budget exhausted"
                continue
            try:
                result = _evaluate(setup, backbone, positions, speeds.get(backbone.name))
            except TlearnError as error:
                skipped[backbone.name] = str(error)
            else:
                results.append(result)
                setup.progress.say(
                    f"{result.backbone}: {result.accuracy:.1%} in {result.seconds:.0f} s"
                )
    except KeyboardInterrupt:
        if not results:
            raise
        stopped = True
        done = {result.backbone for result in results} | skipped.keys()
        skipped |= {b.name: "stopped before" for b in backbones if b.name not in done}
    if not results:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise BackboneError(f"no backbone could be compared: {reasons}")
    return results, skipped, stopped


def _affordable(
    setup: ComparisonSetup, backbones: Sequence[Backbone], most: int
) -> tuple[dict[str, Throughput], int, dict[str, str]]:
    """Fit a comparison into the remaining time.

    Returns:
        The speeds of the backbones there is time for, the number of images, and why the others are
        skipped.
    """
    skipped: dict[str, str] = {}
    rates: dict[str, Throughput] = {}
    overhead: dict[str, float] = {}  # seconds to build it, whatever the number of images
    half = setup.remaining_seconds / 2
    for backbone in backbones:
        start = time.monotonic()
        if setup.remaining_seconds < half:
            skipped[backbone.name] = (
                "half of the time budget was spent before its speed could be measured"
            )
            continue
        try:
            rates[backbone.name] = Candidate(setup, backbone).speed()
        except TlearnError as error:
            skipped[backbone.name] = str(error)
            continue
        overhead[backbone.name] = max(0.0, time.monotonic() - start - BENCHMARK_SECONDS)
    least = min(most, LEAST * len(setup.splits.labels))

    def seconds(name: str, images: int) -> float:
        return overhead[name] + images * (1 / rates[name].rate + PROBING / 1000)

    while len(rates) > 1 and sum(seconds(name, least) for name in rates) > setup.remaining_seconds:
        slowest = min(rates, key=lambda name: rates[name].rate)
        skipped[slowest] = (
            f"time budget too small: it needs another {seconds(slowest, least):.0f} s"
        )
        del rates[slowest]
    each = sum(seconds(name, 1) - seconds(name, 0) for name in rates)
    spare = setup.remaining_seconds - sum(seconds(name, 0) for name in rates)
    fitting = int(spare / each) if rates else 0
    return rates, max(least, min(most, fitting)), skipped


class Candidate:
    """One backbone, built, with its activations.

    Raises:
        BackboneError: If it cannot be built, or its weights cannot be had.
    """

    def __init__(self, setup: ComparisonSetup, backbone: Backbone) -> None:
        self.setup, self._load = setup, OtherLoad()
        named = setup.config.model_copy(update={"backbone": backbone.name})
        self.config = config = with_preset(named, backbone, setup.preset)
        self.built: BuiltBackbone = load_backbone(
            backbone, config.size, config.weights or "none", config.seed
        )
        self.plans: Sequence[Plan] = plan(config.stages or (), self.built)
        self.activations = activations_for(
            config, self.built, self.plans, setup.cache, setup.progress
        )

    def speed(self) -> Throughput:
        """Measure images per second."""
        items = [(f, 0) for f in self.setup.splits.train[:64]]
        return throughput(self.activations, items, self._load)

    def features(self, items: Sequence[Item]) -> np.ndarray:
        """Return the features of views; cache them, and what fine-tuning needs, where they fit."""
        activations, cache = self.activations, self.setup.cache
        for outputs in (activations.outputs, (FEATURES,)):
            missing = activations.missing(items, outputs)
            size = cache_bytes(activations, missing)
            if size <= cache.room():
                cache.make_room(size)
                activations.cache_missing(items, outputs)
                break
        return activations.rows(items, FEATURES)

    def costs(self, rate: float) -> Costs:
        """Estimate what fine-tuning costs from now, with the activations cached so far."""
        views = views_in_turn(self.config, self.plans)
        items = needed(self.setup.splits, views)
        missing = self.activations.missing(items, self.activations.outputs)
        model = CostModel(self.activations, self.setup.splits, missing, rate, self.built.seconds)
        return model.costs(self.plans, views, streaming=not views)


def _evaluate(
    setup: ComparisonSetup, backbone: Backbone, positions: np.ndarray, speed: Throughput | None
) -> CandidateResult:
    start = time.monotonic()
    candidate = Candidate(setup, backbone)
    speed = speed or candidate.speed()
    files = [setup.splits.train[i] for i in positions.tolist()]
    features = candidate.features([(f, 0) for f in files])
    y = setup.y[positions]
    taps, best = _probed(features, y, [f.group or f.content for f in files], candidate)
    if not len(best.positions):
        raise DataError("too few images, or too few groups of them, for cross-validation; add some")
    return CandidateResult(
        backbone=backbone.name,
        positions=positions[best.positions],
        right=best.guesses == y[best.positions],
        log_loss=best.log_loss,
        taps=taps,
        images_per_second=speed.rate,
        speed_is_sure=speed.sure,
        parameters=int(candidate.built.base.count_params()),
        finetune_seconds=candidate.costs(speed.rate).seconds,
        seconds=time.monotonic() - start,
    )


def _probed(
    features: np.ndarray, y: np.ndarray, groups: Sequence[str], candidate: Candidate
) -> tuple[str, CrossValidated]:
    """Cross-validate a probe on several depths and on the top, as a training does."""
    taps = candidate.built.taps
    widths = {"multi": sum(tap.width for tap in taps), "top": taps[-1].width}
    wanted = candidate.config.head.taps
    kinds: Iterable[str] = widths if wanted == "auto" else [wanted]
    weights: Mapping[int, float] = dict.fromkeys(range(len(candidate.setup.splits.labels)), 1.0)
    results = {
        kind: cross_validate(
            features[:, -widths[kind] :], y, groups, weights, candidate.config.seed
        )
        for kind in kinds
    }
    return min(results.items(), key=lambda pair: pair[1].log_loss)
