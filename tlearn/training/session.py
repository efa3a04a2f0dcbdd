"""One training: keep activations, fit the probe, train the stages."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.config import RunConfig
from tlearn.data.splits import Splits
from tlearn.data.views import Rendering
from tlearn.frozen.activations import FEATURES, Activations
from tlearn.frozen.trunk import Tap, Trunk
from tlearn.progress import Progress
from tlearn.training.feed import Feed
from tlearn.training.loop import Listener, Score, StageResult, Targets, train
from tlearn.training.network import Network
from tlearn.training.probe import Probe, fit_probe
from tlearn.training.stages import Plan

PROBE_VIEWS = 2  # more views of the same photos change the probe by less than its noise


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
    cache: Path,
    progress: Progress,
    tell: Listener,
) -> Trained:
    """Train on the splits, from kept activations.

    Args:
        config: The configuration, with everything filled in.
        trunk: The pristine backbone.
        plans: The stages.
        splits: The images; those of the test side are not touched.
        cache: The cache folder.
        progress: Where to show progress.
        tell: Hears of everything that happens.

    Raises:
        DataError: If an image can no longer be read.
        CacheError: If activations cannot be kept.
        ConfigError: If a head that started at random diverged.
    """
    views = config.views if isinstance(config.views, int) else 0
    rendering = Rendering(trunk.size, config.resize, config.augment)
    cuts = {p.cut.name: p.cut for p in plans if p.cut is not None}
    targets = _targets(splits, config.class_weights)
    with Activations(trunk, rendering, cuts.values(), cache) as kept:
        start = time.monotonic()
        items = [(f, view) for f in splits.train for view in range(views or 1)]
        checks = [(f, 0) for f in splits.validation]
        computed = 0
        if not views:  # streamed: of the training images only the probe's features are kept
            computed = kept.keep(items, progress, [FEATURES])
        computed += kept.keep([*items, *checks] if views else checks, progress)
        items += checks
        tell("activations", computed=computed, found=len(items) - computed)
        kept_at = time.monotonic()
        taps, probe = _probe(config, kept, trunk, splits, targets)
        network = Network(trunk, taps, len(splits.labels), config.head, config.seed)
        features = kept.features(checks)[:, network.columns]
        score = Score.of(targets.validation, probe.logits(features))
        if config.head.hidden:
            network.standardise_by(probe.mean, probe.scale)
        else:
            network.start_from(probe)
        probed_at = time.monotonic()
        first = StageResult(
            "probe", "head", 0, probed_at - kept_at, score, kept=not config.head.hidden
        )
        tell(
            "probe",
            taps=[tap.name for tap in taps],
            strength=probe.strength,
            accuracy=score.accuracy,
            cross_validated=probe.accuracy,
        )
        progress.say(f"probe: validation accuracy {score.accuracy:.3f}")

        lengths = accumulate((p.stage.epochs for p in plans), initial=0)
        past = {id(p): epochs for p, epochs in zip(plans, lengths, strict=False)}

        def feeds(p: Plan) -> tuple[Feed, Feed]:
            columns = network.columns_below(p.cut)
            return (
                Feed(kept, p.cut, columns, splits.train, views, config.seed, past[id(p)]),
                Feed(kept, p.cut, columns, splits.validation, 1, config.seed),
            )

        best = None if config.head.hidden else score
        results, stopped = train(network, plans, feeds, targets, best, progress, tell)
    seconds = {
        "activations": kept_at - start,
        "probe": probed_at - kept_at,
        "stages": time.monotonic() - probed_at,
    }
    rates = {"activation_views": computed / seconds["activations"]} if computed else {}
    return Trained(network, [first, *results], stopped, seconds, rates)


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
    config: RunConfig, kept: Activations, trunk: Trunk, splits: Splits, targets: Targets
) -> tuple[tuple[Tap, ...], Probe]:
    """Fit the probe on several depths, on the top, or on what cross-validation prefers."""
    views = min(PROBE_VIEWS, config.views) if isinstance(config.views, int) else 1
    items = [(f, view) for f in splits.train for view in range(views)]
    features = kept.features(items).reshape(len(splits.train), views, -1)
    groups = [f.group or f.content for f in splits.train]
    weights = dict(enumerate(targets.class_weights.tolist()))
    choices = {
        "multi": [trunk.taps],
        "top": [trunk.taps[-1:]],
        "auto": [trunk.taps, trunk.taps[-1:]],
    }
    fitted = []
    for taps in choices[config.head.taps]:
        width = sum(tap.width for tap in taps)  # the top's features stand last
        probe = fit_probe(features[..., -width:], targets.train, groups, weights, config.seed)
        fitted.append((taps, probe))
    return min(fitted, key=lambda pair: pair[1].log_loss)
