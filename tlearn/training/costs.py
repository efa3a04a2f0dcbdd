"""What a training will cost: seconds and disk, from rates measured on this machine just before."""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import psutil

from tlearn.features.activations import Activations
from tlearn.features.built_backbone import FEATURES, BuiltBackbone, tensors_at
from tlearn.features.image_views import ImageViews
from tlearn.training.expected_costs import arithmetic
from tlearn.training.large_sets import most_images
from tlearn.training.probe import PER_CLASS, sample_size, search_flops
from tlearn.training.regression import flops
from tlearn.training.setup import Setup
from tlearn.training.stages import StagePlan

TRIAL = 8  # views a rate is measured on, at first
LONG_ENOUGH = 0.2  # seconds a trial must take to be believed
WARM_UP = 8  # views computed first, to make the engine ready
BENCHMARK_SECONDS = 1.0  # that a throughput is measured, at most twice that where it varies
TRIALS = 2  # that must agree
AGREE = 0.8  # the least ratio of two speeds that agree
BUSY = 0.25  # share of the processors' time used by others above which the machine is busy
UNSURE = "speeds and seconds are unsure; measure again when it is idle"
# What a training step takes, for the time its products would take as one large float32 product.
STEP_FACTOR = {"float32": 1.0, "bfloat16": 0.8}
# What Python does for each layer again and again, in units of the time it took to build them once:
STAGE_START = 3.5  # to trace and compile a stage
FIXED_OVERHEAD = 5.5  # the probe's setting up, saving, compiling, evaluating and drawing
PROBE_FACTOR = 1.5  # what the regressions take, for the time of their products alone


@dataclass(frozen=True)
class Costs:
    """What training costs with cached or with streamed activations.

    Attributes:
        streaming: Whether pixels are streamed in every epoch; else activations are cached.
        seconds: From the start of the training to its end.
        bytes: What will be written to the cache.
    """

    streaming: bool
    seconds: float
    bytes: int


def measure_rate(
    activations: Activations, views: ImageViews, outputs: Sequence[str]
) -> tuple[float, int]:
    """Measure views per second by caching the first missing ones.

    Returns:
        The rate, infinite if there are too few views to measure it, and how many were computed.
    """
    rate, done, size = np.inf, 0, TRIAL
    while done < len(views):
        part = views[done : done + size]
        start = time.monotonic()
        count = activations.cache_missing(part, outputs, measured=True)
        seconds = time.monotonic() - start
        if done and count:  # the first time includes making the engine ready
            rate = count / seconds
        long_enough = done and seconds >= LONG_ENOUGH
        done += count
        if not count or long_enough:
            break
        size *= 4
    return rate, done


class OtherLoad:
    """How much other processes have used the processors since this was made."""

    def __init__(self) -> None:
        self._start = self._times()

    def share(self) -> float:
        """Return the part of the processors' time that others used, 0 to 1."""
        every, idle, own = self._times() - self._start
        return float((every - idle - own) / every) if every else 0.0

    def _times(self) -> np.ndarray:
        machine, own = psutil.cpu_times(), psutil.Process().cpu_times()
        return np.array([sum(machine), machine.idle, own.user + own.system])


@dataclass(frozen=True)
class Throughput:
    """A measured speed.

    Attributes:
        rate: Views per second through decoding and the prefix.
        sure: Whether the trials agree, and others hardly used the processors.
    """

    rate: float
    sure: bool


def throughput(activations: Activations, views: ImageViews) -> Throughput:
    """Measure views per second through decoding and the prefix, whatever is in the cache.

    Trials that disagree are repeated; the fastest is what the machine can do.

    Args:
        activations: The activations.
        views: Those to measure it on, again and again where they are few.
    """
    load = OtherLoad()
    for _ in activations.compute_views(views[:WARM_UP], (FEATURES,)):
        pass
    rates = [_trial(activations, views) for _ in range(TRIALS)]
    if not _agree(rates):
        rates += [_trial(activations, views) for _ in range(TRIALS)]
    return Throughput(max(rates), _agree(sorted(rates)[-TRIALS:]) and load.share() <= BUSY)


def _agree(rates: Sequence[float]) -> bool:
    return min(rates) >= AGREE * max(rates)


def _trial(activations: Activations, views: ImageViews) -> float:
    count, start = 0, time.monotonic()
    batches = itertools.chain.from_iterable(
        activations.compute_views(views, (FEATURES,)) for _ in itertools.count()
    )
    for keys, _ in batches:
        count += len(keys)
        seconds = time.monotonic() - start
        if seconds >= BENCHMARK_SECONDS / TRIALS:
            break
    return count / seconds


def multiply_adds(built: BuiltBackbone, layers: frozenset[str]) -> float:
    """Return the multiplications of layers for one image: every weight, at every position."""
    return float(
        sum(
            np.prod(weight.shape)
            * np.prod(tensors_at(built.base, layer.name, "after")[0].shape[1:-1])
            for layer in built.base.layers
            if layer.name in layers
            for weight in layer.weights
            if len(weight.shape) > 1
        )
    )


def cache_bytes(activations: Activations, missing: Mapping[str, ImageViews]) -> int:
    """Return how much caching the missing views of each output would add to the cache."""
    return sum(len(views) * activations.row_bytes(name) for name, views in missing.items())


@dataclass(frozen=True)
class CostModel:
    """What there is to do, and how fast it goes.

    Attributes:
        setup: What the training works with; its stages and views are not looked at.
        missing: The views that are not cached yet, by output.
        rate: Views per second through decoding and the prefix.
        spent: Seconds that have passed already.
        probed: Whether the probe is fitted already.
    """

    setup: Setup
    missing: Mapping[str, ImageViews]
    rate: float
    spent: float
    probed: bool = False

    @cached_property
    def flops(self) -> float:
        """Floating-point operations per second in a large float32 product."""
        return arithmetic()

    def costs(self, plans: Sequence[StagePlan], views: int, streaming: bool) -> Costs:
        """Estimate a training.

        Args:
            plans: The stages.
            views: Views per training image, or 0 for fresh ones.
            streaming: Whether activations at the boundaries are computed in every epoch.
        """
        boundaries = {p.boundary.name for p in plans if p.boundary is not None and not streaming}
        shown = min(views, self.setup.probe_views) if streaming else views
        missing = {
            name: lacking.first(max(1, shown))
            for name, lacking in self.missing.items()
            if name in {FEATURES, *boundaries}
        }
        count = len(ImageViews.concatenated([*missing.values()]).unique())
        size, splits = cache_bytes(self.setup.activations, missing), self.setup.splits
        images = len(splits.train) + len(splits.validation)
        built = self.setup.built.seconds
        training = 0.0
        for plan in plans:
            again = streaming and plan.boundary is not None
            epoch = self._epoch(plan) + (images / self.rate if again else 0.0)
            training += STAGE_START * built + plan.stage.epochs * epoch
        count += len(splits.validation) + len(splits.test)  # evaluated at the end
        seconds = self.spent + count / self.rate + training + FIXED_OVERHEAD * built
        seconds += 0.0 if self.probed else self._probe(views)
        return Costs(streaming, seconds, size)

    def _probe(self, views: int) -> float:
        """Estimate the choice among two probes, on several depths and on the top, and the fit."""
        taps, splits = self.setup.built.taps, self.setup.splits
        width, classes, images = sum(t.width for t in taps), len(splits.labels), len(splits.train)
        most, shown = sample_size(images, views, width)
        rows = min(most, images) * shown
        tried = classes if images <= most else min(classes, most // PER_CLASS)
        operations = sum(search_flops(rows, d, tried) for d in (width, taps[-1].width))
        if images > most:
            operations += flops(min(images, most_images(width)), width, classes)
        return PROBE_FACTOR * operations / self.flops

    def _epoch(self, plan: StagePlan) -> float:
        """Estimate an epoch: two passes over the suffix, and a third over what is trained of it."""
        built, splits = self.setup.built, self.setup.splits
        head = sum(tap.width for tap in built.taps) * len(splits.labels)
        suffix = built.layers_above(plan.boundary) if plan.boundary else frozenset()
        both, trained = multiply_adds(built, suffix), multiply_adds(built, suffix & plan.trainable)
        one = 2 / self.flops * STEP_FACTOR[self.setup.activations.choice.precision]
        train, check = len(splits.train), len(splits.validation)
        both, trained = both + head, trained + head
        return one * (train * (2 * both + trained) + check * both)


def shorten_to_budget(
    budget: float,
    plans: Sequence[StagePlan],
    views: int,
    cost: Callable[[Sequence[StagePlan], int], float],
    least: int = 0,
) -> tuple[tuple[StagePlan, ...], int]:
    """Shorten a training until it fits into a time.

    Views and epochs shrink together; where that is not enough, the last stage is left out, and the
    next.

    Args:
        budget: Seconds.
        plans: The stages.
        views: Views per training image, or 0 for streaming.
        cost: Seconds that stages with so many views take.
        least: How many stages there must be.

    Returns:
        Stages and views that fit, or, if none do, the least there is.
    """
    for stages in range(len(plans), least - 1, -1):
        for part in (1.0, 0.8, 0.65, 0.5, 0.4, 0.3):
            shorter = tuple(_shorten(plan, part) for plan in plans[:stages])
            fewer = max(1, round(views * part)) if views else 0
            if cost(shorter, fewer) <= budget:
                return shorter, fewer
    return tuple(_shorten(plan, 0.0) for plan in plans[:least]), min(1, views)


def _shorten(plan: StagePlan, part: float) -> StagePlan:
    return plan.with_epochs(max(1, int(plan.stage.epochs * part)))
