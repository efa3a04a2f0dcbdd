"""One training: keep activations, fit the probe, train the stages."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from tlearn.config import RunConfig
from tlearn.data.splits import Splits
from tlearn.data.views import Rendering
from tlearn.frozen.activations import Activations
from tlearn.frozen.cache import Cache
from tlearn.frozen.engines import choose
from tlearn.frozen.trunk import FEATURES, Tap, Trunk
from tlearn.progress import Progress
from tlearn.training.feed import Feed
from tlearn.training.loop import Listener, Score, StageResult, Targets, train
from tlearn.training.network import Network
from tlearn.training.probe import Probe, fit_probe, sample
from tlearn.training.stages import Plan

PROBE_VIEWS = 2  # more views of the same photos change the probe by less than its noise
PROBE_NUMBERS = 12_000_000  # features of a view times views: memory stays the same from there on


@dataclass(frozen=True)
class Trained:
    """What a training leaves.

    Attributes:
        network: With the best weights found.
        stages: The probe and every stage begun.
        stopped: Whether the user stopped it.
        seconds: How long each part took.
        rates: Views computed per second, where any were.
    """

    network: Network
    stages: list[StageResult]
    stopped: bool
    seconds: dict[str, float]
    rates: dict[str, float]

    @property
    def history(self) -> list[dict[str, Any]]:
        """One row per epoch, over all stages."""
        return [row for result in self.stages for row in result.history]


def train_network(
    config: RunConfig,
    trunk: Trunk,
    plans: Sequence[Plan],
    splits: Splits,
    cache: Cache,
    progress: Progress,
    tell: Listener,
    callbacks: Sequence[Any] = (),
) -> Trained:
    """Train on the splits, from kept activations.

    Args:
        config: The configuration, with everything filled in.
        trunk: The pristine backbone.
        plans: The stages.
        splits: The images; those of the test side are not touched.
        cache: Where activations are kept.
        progress: Where to show progress.
        tell: Hears of everything that happens.
        callbacks: Keras callbacks that every stage is trained with.

    Raises:
        DataError: If an image can no longer be read.
        ConfigError: If a head that started at random diverged.
    """
    targets = _targets(splits, config.class_weights)
    seconds: dict[str, float] = {}
    with _timed(seconds, "activations"):
        kept, computed = _kept(config, trunk, plans, splits, cache, progress)
    tell("activations", computed=computed)
    with _timed(seconds, "probe"):
        network, score = _headed(config, kept, splits, targets, tell)
    progress.say(f"probe: validation accuracy {score.accuracy:.3f}")
    started = not config.head.hidden  # else the probe could not be made the head
    first = StageResult("probe", "head", 0, seconds["probe"], score, kept=started)
    feeds = _feeds(config, kept, network, splits, plans)
    with _timed(seconds, "stages"):
        results, stopped = train(
            network, plans, feeds, targets, score if started else None, progress, tell, callbacks,
            kept.choice.precision,
        )  # fmt: skip
    rates = {"activation_views": computed / seconds["activations"]} if computed else {}
    return Trained(network, [first, *results], stopped, seconds, rates)


@contextlib.contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[name] = time.monotonic() - start


def _kept(
    config: RunConfig,
    trunk: Trunk,
    plans: Sequence[Plan],
    splits: Splits,
    cache: Cache,
    progress: Progress,
) -> tuple[Activations, int]:
    """Compute what the training needs and keep it; return it, and how many views were computed."""
    views = config.views if isinstance(config.views, int) else 0
    rendering = Rendering(trunk.size, config.resize, config.augment)
    cuts = {p.cut.name: p.cut for p in plans if p.cut is not None}
    choice = choose(config.engine, config.precision)
    kept = Activations(trunk, rendering, cuts.values(), cache, choice, progress)
    checks = [(f, 0) for f in splits.validation]
    if views:
        items = [(f, view) for f in splits.train for view in range(views)]
        return kept, kept.keep([*items, *checks])
    # Streamed: of the training images only the probe's features are kept.
    computed = kept.keep([(f, 0) for f in splits.train], [FEATURES]) + kept.keep(checks)
    kept.keeping = False
    return kept, computed


def _headed(
    config: RunConfig, kept: Activations, splits: Splits, targets: Targets, tell: Listener
) -> tuple[Network, Score]:
    """Fit the probe and make it the head; return the network, and the probe's score."""
    taps, probe = _probe(config, kept, splits, targets)
    network = Network(kept.trunk, taps, len(splits.labels), config.head, config.seed)
    features = kept.rows([(f, 0) for f in splits.validation], FEATURES, network.columns)
    score = Score.of(targets.validation, probe.logits(features))
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
    )
    return network, score


def _feeds(
    config: RunConfig, kept: Activations, network: Network, splits: Splits, plans: Sequence[Plan]
) -> Callable[[Plan], tuple[Feed, Feed]]:
    """Return what gives the training and the validation feed of a stage."""
    views = config.views if isinstance(config.views, int) else 0
    lengths = accumulate((p.stage.epochs for p in plans), initial=0)
    past = {id(p): epochs for p, epochs in zip(plans, lengths, strict=False)}

    def feeds(p: Plan) -> tuple[Feed, Feed]:
        columns = network.columns_below(p.cut)
        return (
            Feed(kept, p.cut, columns, splits.train, views, config.seed, past[id(p)]),
            Feed(kept, p.cut, columns, splits.validation, 1, config.seed),
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
    config: RunConfig, kept: Activations, splits: Splits, targets: Targets
) -> tuple[tuple[Tap, ...], Probe]:
    """Fit the probe on several depths, on the top, or on what cross-validation prefers."""
    views = min(PROBE_VIEWS, config.views) if isinstance(config.views, int) else 1
    taps = kept.trunk.taps
    width = sum(tap.width for tap in taps)
    some = sample(targets.train, PROBE_NUMBERS // (views * width), config.seed)
    files = [splits.train[i] for i in some.tolist()]
    y = targets.train[some]
    features = kept.features([(f, view) for f in files for view in range(views)])
    features = features.reshape(len(files), views, -1)
    groups = [f.group or f.content for f in files]
    weights = dict(enumerate(targets.class_weights.tolist()))
    choices = {"multi": [taps], "top": [taps[-1:]], "auto": [taps, taps[-1:]]}
    fitted = []
    for chosen in choices[config.head.taps]:
        width = sum(tap.width for tap in chosen)  # the top's features stand last
        probe = fit_probe(features[..., -width:], y, groups, weights, config.seed)
        fitted.append((chosen, probe))
    return min(fitted, key=lambda pair: pair[1].log_loss)
