"""How well and how fast backbones do on the same photos, by their probes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tlearn.backbones import load_registry
from tlearn.config import RunConfig
from tlearn.data.scan import Manifest
from tlearn.data.splits import Splits
from tlearn.errors import BackboneError, ClusterError, DataError, TlearnError
from tlearn.features.activation_cache import Cache
from tlearn.features.activations import Activations
from tlearn.features.built_backbone import FEATURES
from tlearn.features.image_views import ImageViews
from tlearn.progress import Progress, Silent
from tlearn.runs.measurement import class_numbers
from tlearn.text import percent
from tlearn.training.costs import (
    BENCHMARK_SECONDS,
    CostModel,
    Costs,
    Throughput,
    cache_bytes,
    throughput,
)
from tlearn.training.probe import fit_on_taps, sample_of_classes
from tlearn.training.setup import Setup, read_setup
from tlearn.training.stages import with_preset

MOST = 2000  # training images compared on, at most: an interval of one to two points
LEAST = 20  # images per class below which a comparison says little
PROBING = 2.0  # seconds a cross-validation takes, at most, for each thousand images of
CLASSES = 20  # classes at most; of more, so many times as long


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
        classes: The number of classes compared on, which makes the accuracy of many classes look
            better than it is on all.
        all_classes: The number of all classes.
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
    classes: int
    all_classes: int

    @property
    def accuracy(self) -> float:
        """The part of the images counted that it is right about."""
        return float(self.right.mean())


@dataclass(frozen=True)
class ComparisonSetup:
    """The photos that backbones are compared on, and how they would be trained on.

    Attributes:
        config: The configuration; its backbone is each in turn.
        manifest: The photos as they were scanned.
        splits: The images; only training images are used.
        deadline: When the time is over, by :func:`time.monotonic`.
    """

    config: RunConfig
    manifest: Manifest
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
        return class_numbers(self.splits.train, self.splits.labels)

    def of(self, backbone: str) -> Setup:
        """Return what training one backbone would work with.

        Raises:
            BackboneError: If it cannot be built, or its weights cannot be had.
        """
        named = self.config.model_copy(update={"backbone": backbone})
        config = with_preset(named, *load_registry().check(named))
        return read_setup(config, (self.manifest, self.splits), self.cache, self.progress)


def evaluate_candidates(
    setup: ComparisonSetup, backbones: Sequence[str]
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
        positions = sample_of_classes(setup.y, most, setup.config.seed)
        for backbone in (name for name in backbones if name not in skipped):
            if setup.remaining_seconds <= 0:
                skipped[backbone] = "time budget exhausted"
                continue
            try:
                result = _evaluate(setup, backbone, positions, speeds.get(backbone))
            except ClusterError:  # another backbone would fare no better
                raise
            except TlearnError as error:
                skipped[backbone] = str(error)
            else:
                results.append(result)
                setup.progress.say(
                    f"{backbone}: {percent(result.accuracy)} in {result.seconds:.0f} s"
                )
    except KeyboardInterrupt:
        if not results:
            raise
        stopped = True
        done = {result.backbone for result in results} | skipped.keys()
        skipped |= {name: "stopped before" for name in backbones if name not in done}
    if not results:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise BackboneError(f"no backbone could be compared: {reasons}")
    return results, skipped, stopped


def _affordable(
    setup: ComparisonSetup, backbones: Sequence[str], most: int
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
    for name in backbones:
        start = time.monotonic()
        if setup.remaining_seconds < half:
            skipped[name] = "half of the time budget was spent before its speed could be measured"
            continue
        try:
            rates[name] = speed_of(setup.of(name))
        except TlearnError as error:
            skipped[name] = str(error)
            continue
        overhead[name] = max(0.0, time.monotonic() - start - BENCHMARK_SECONDS)
    classes = len(setup.splits.labels)
    least = min(most, LEAST * classes)
    probing = PROBING / 1000 * max(1.0, classes / CLASSES)

    def seconds(name: str, images: int) -> float:
        return overhead[name] + images * (1 / rates[name].rate + probing)

    while len(rates) > 1 and sum(seconds(name, least) for name in rates) > setup.remaining_seconds:
        slowest = min(rates, key=lambda name: rates[name].rate)
        needed = seconds(slowest, least)
        skipped[slowest] = f"time budget too small: it needs another {needed:.0f} s"
        del rates[slowest]
    each = sum(seconds(name, 1) - seconds(name, 0) for name in rates)
    spare = setup.remaining_seconds - sum(seconds(name, 0) for name in rates)
    fitting = int(spare / each) if rates else 0
    return rates, max(least, min(most, fitting)), skipped


def speed_of(setup: Setup) -> Throughput:
    """Measure images per second."""
    return throughput(setup.activations, setup.all_views(1)[:64])


def costs_of(setup: Setup, rate: float) -> Costs:
    """Estimate what fine-tuning costs from now, with the activations cached so far."""
    activations = setup.activations
    missing = activations.missing(setup.all_views(setup.views), activations.outputs)
    model = CostModel(setup, missing, rate, setup.built.seconds)
    return model.costs(setup.stages, setup.views, streaming=not setup.views)


def _evaluate(
    comparison: ComparisonSetup, backbone: str, positions: np.ndarray, speed: Throughput | None
) -> CandidateResult:
    start = time.monotonic()
    setup = comparison.of(backbone)
    speed = speed or speed_of(setup)
    files = comparison.splits.train[positions]
    y = comparison.y[positions]
    chosen, probe = fit_on_taps(
        _features(setup, ImageViews(files))[:, None],
        setup.built.taps,
        setup.config.head.taps,
        y,
        files.units(),
        [1.0] * len(comparison.splits.labels),
        setup.config.seed,
        Silent(),
    )
    estimate = probe.cross_validation
    if not len(estimate.positions):
        raise DataError("too few images, or too few groups of them, for cross-validation; add some")
    return CandidateResult(
        backbone=backbone,
        positions=positions[estimate.positions],
        right=estimate.guesses == y[estimate.positions],
        log_loss=estimate.log_loss,
        taps="multi" if len(chosen) > 1 else "top",
        images_per_second=speed.rate,
        speed_is_sure=speed.sure,
        parameters=int(setup.built.base.count_params()),
        finetune_seconds=costs_of(setup, speed.rate).seconds,
        seconds=time.monotonic() - start,
        classes=len(np.unique(y)),
        all_classes=len(comparison.splits.labels),
    )


def _features(setup: Setup, views: ImageViews) -> np.ndarray:
    """Return the features of views; cache them, and what fine-tuning needs, where they fit."""
    cache_what_fits(setup.activations, views)
    return setup.activations.rows(views, FEATURES)


def cache_what_fits(activations: Activations, views: ImageViews) -> None:
    """Cache all outputs of views, or the features alone, as the disk budget allows."""
    cache = activations.cache
    for outputs in (activations.outputs, (FEATURES,)):
        size = cache_bytes(activations, activations.missing(views, outputs))
        if size <= cache.room():
            cache.make_room(size)
            activations.cache_missing(views, outputs)
            break
