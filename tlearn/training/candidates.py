"""How well and how fast backbones do on the same photos, by their probes."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np

from tlearn.backbones import Backbone, Preset
from tlearn.config import RunConfig
from tlearn.data.splits import Splits
from tlearn.data.views import Rendering
from tlearn.errors import DataError, TlearnError
from tlearn.features.activation_cache import Cache
from tlearn.features.activations import Activations, Item
from tlearn.features.built_backbone import FEATURES, BuiltBackbone, load_backbone
from tlearn.features.engines import choose
from tlearn.progress import Progress
from tlearn.training.costs import BENCHMARK_SECONDS, CostModel, Costs, Rates, arithmetic, throughput
from tlearn.training.execution_plan import needed, views_in_turn
from tlearn.training.probe import CrossValidated, cross_validate, sample
from tlearn.training.stages import Plan, plan, with_preset

MOST = 2000  # training images compared on, at most: an interval of one to two points
LEAST = 20  # images per class below which a comparison says little
PROBING = 2.0  # seconds a cross-validation takes, at most, for each thousand images


@dataclass(frozen=True)
class CandidateResult:
    """How one backbone does.

    Attributes:
        backbone: Its name.
        positions: The training images counted.
        right: For each, whether it was told right by a probe that was not fitted on it.
        log_loss: In nats.
        taps: Whether the probe saw several depths or the top alone.
        images_per_second: Through decoding and the whole backbone, on this machine.
        parameters: Of the backbone.
        finetune_seconds: What fine-tuning it is estimated to take from now.
        seconds: What judging it took.
    """

    backbone: str
    positions: np.ndarray
    right: np.ndarray
    log_loss: float
    taps: str
    images_per_second: float
    parameters: int
    finetune_seconds: float
    seconds: float

    @property
    def accuracy(self) -> float:
        """The part of the images counted that was told right."""
        return float(self.right.mean())


@dataclass(frozen=True)
class ComparisonSetup:
    """The photos that backbones are compared on, and how they would be trained on.

    Attributes:
        config: The configuration; its backbone is each in turn.
        preset: The stages that the estimate is for.
        splits: The images; only those of the training side are looked at.
        cache: Where activations are kept.
        progress: Where to show progress.
        deadline: When the time is over, by :func:`time.monotonic`.
    """

    config: RunConfig
    preset: Preset
    splits: Splits
    cache: Cache
    progress: Progress
    deadline: float = np.inf

    @property
    def left(self) -> float:
        """Seconds until the time is over."""
        return self.deadline - time.monotonic()

    @cached_property
    def y(self) -> np.ndarray:
        """Class indices of the training images."""
        return np.array([self.splits.labels.index(f.label) for f in self.splits.train])


def evaluate_candidates(
    field: ComparisonSetup, backbones: Sequence[Backbone], found: Callable[[CandidateResult], None]
) -> dict[str, str]:
    """Judge backbones one after another, on the same images.

    Within a time, all see as many images as it allows; where that would be too few, the slowest are
    left out.

    Args:
        field: The photos.
        backbones: The backbones.
        found: Is given each that was judged, at once.

    Returns:
        By name, why the others were not.

    Raises:
        DataError: If there are too few images to compare anything on.
    """
    lost: dict[str, str] = {}
    if min(np.bincount(field.y, minlength=len(field.splits.labels))) < 2:
        raise DataError(
            "comparing needs two or more training images of every class, to hold one back; add some"
        )
    many = min(MOST, len(field.splits.train))
    rates: dict[str, float] = {}
    if np.isfinite(field.deadline):
        rates, many, lost = _affordable(field, backbones, many)
    positions = sample(field.y, many, field.config.seed)
    for backbone in backbones:
        if backbone.name in lost:
            continue
        if field.left <= 0:
            lost[backbone.name] = "the time was over"
            continue
        try:
            judged = _evaluate(field, backbone, positions, rates.get(backbone.name))
        except TlearnError as error:
            lost[backbone.name] = str(error)
        else:
            found(judged)
    return lost


def _affordable(
    field: ComparisonSetup, backbones: Sequence[Backbone], many: int
) -> tuple[dict[str, float], int, dict[str, str]]:
    """Fit a comparison into the time that is left.

    Returns:
        The images per second of the backbones there is time for, the number of images, and why the
        others are left out.
    """
    lost: dict[str, str] = {}
    rates: dict[str, float] = {}
    around: dict[str, float] = {}  # seconds to build it, whatever the number of images
    half = field.left / 2
    for backbone in backbones:
        start = time.monotonic()
        if field.left < half:
            lost[backbone.name] = "the time was half over before its speed was measured"
            continue
        try:
            rates[backbone.name] = Candidate(field, backbone).rate()
        except TlearnError as error:
            lost[backbone.name] = str(error)
            continue
        around[backbone.name] = time.monotonic() - start - BENCHMARK_SECONDS
    least = min(many, LEAST * len(field.splits.labels))

    def seconds(name: str, images: int) -> float:
        return around[name] + images * (1 / rates[name] + PROBING / 1000)

    while len(rates) > 1 and sum(seconds(name, least) for name in rates) > field.left:
        slowest = min(rates, key=lambda name: rates[name])
        lost[slowest] = f"it would have taken another {seconds(slowest, least):.0f} s"
        del rates[slowest]
    each = sum(seconds(name, 1) - seconds(name, 0) for name in rates)
    left = field.left - sum(seconds(name, 0) for name in rates)
    fitting = int(left / each) if rates else 0
    return rates, max(least, min(many, fitting)), lost


class Candidate:
    """One backbone, built, with where its activations are kept.

    Raises:
        BackboneError: If it cannot be built, or its weights cannot be had.
    """

    def __init__(self, field: ComparisonSetup, backbone: Backbone) -> None:
        keras.backend.clear_session()  # the one before it is no longer needed
        self.field = field
        named = field.config.model_copy(update={"backbone": backbone.name})
        self.config = config = with_preset(named, backbone, field.preset)
        self.built: BuiltBackbone = load_backbone(
            backbone, config.size, config.weights or "none", config.seed
        )
        self.plans: Sequence[Plan] = plan(config.stages or (), self.built)
        rendering = Rendering(self.built.size, config.resize, config.augment)
        boundaries = [p.boundary for p in self.plans if p.boundary is not None]
        choice = choose(config.engine, config.precision)
        self.kept = Activations(
            self.built, rendering, boundaries, field.cache, choice, field.progress
        )

    def rate(self) -> float:
        """Measure images per second."""
        return throughput(self.kept, [(f, 0) for f in self.field.splits.train[:64]])

    def features(self, items: Sequence[Item]) -> np.ndarray:
        """Return the features of views; keep them, and what fine-tuning needs, where they fit."""
        kept, cache = self.kept, self.field.cache
        for outputs in (kept.outputs, (FEATURES,)):
            lacking = kept.missing(items, outputs)
            size = sum(len(some) * kept.row_bytes(name) for name, some in lacking.items())
            if size <= cache.room():
                cache.make_room(size)
                kept.keep(items, outputs)
                break
        return kept.features(items)

    def costs(self, rate: float) -> Costs:
        """Estimate what fine-tuning costs from now, with what is kept by now."""
        views = views_in_turn(self.config, self.plans)
        lacking = self.kept.missing(needed(self.field.splits, views), self.kept.outputs)
        rates = Rates(rate, arithmetic())
        work = CostModel(self.kept, self.field.splits, lacking, rates, self.built.seconds)
        return work.costs(self.plans, views, streaming=not views)


def _evaluate(
    field: ComparisonSetup, backbone: Backbone, positions: np.ndarray, rate: float | None
) -> CandidateResult:
    start = time.monotonic()
    entrant = Candidate(field, backbone)
    rate = rate or entrant.rate()
    files = [field.splits.train[i] for i in positions.tolist()]
    features = entrant.features([(f, 0) for f in files])
    y = field.y[positions]
    taps, best = _probed(features, y, [f.group or f.content for f in files], entrant)
    if not len(best.positions):
        raise DataError("there are too few images, or groups of them, to hold any back")
    return CandidateResult(
        backbone=backbone.name,
        positions=positions[best.positions],
        right=best.guesses == y[best.positions],
        log_loss=best.log_loss,
        taps=taps,
        images_per_second=rate,
        parameters=int(entrant.built.base.count_params()),
        finetune_seconds=entrant.costs(rate).seconds,
        seconds=time.monotonic() - start,
    )


def _probed(
    features: np.ndarray, y: np.ndarray, groups: Sequence[str], entrant: Candidate
) -> tuple[str, CrossValidated]:
    """Cross-validate a probe on several depths and on the top, as a training does."""
    taps = entrant.built.taps
    widths = {"multi": sum(tap.width for tap in taps), "top": taps[-1].width}
    wanted = entrant.config.head.taps
    kinds: Iterable[str] = widths if wanted == "auto" else [wanted]
    weights: Mapping[int, float] = dict.fromkeys(range(len(entrant.field.splits.labels)), 1.0)
    found = {
        kind: cross_validate(features[:, -widths[kind] :], y, groups, weights, entrant.config.seed)
        for kind in kinds
    }
    return min(found.items(), key=lambda pair: pair[1].log_loss)
