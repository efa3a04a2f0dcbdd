"""What the choice of ``tlearn label-next`` gains over photos at random, on labelled sets.

A tenth of the photos is labelled, 50 more are chosen, and a probe is fitted to all of these. It is
measured on three tenths that are never chosen from, before and after; each seed draws all anew.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import SHARED
from tlearn.cache_folder import cache_folder
from tlearn.data.splits import load_dataset
from tlearn.experiments.accuracy_curve import features_of
from tlearn.experiments.candidates import ComparisonSetup
from tlearn.experiments.subsets import subsets_of
from tlearn.features.activation_cache import Cache
from tlearn.features.model_features import WIDTH
from tlearn.progress import Silent
from tlearn.runs.photo_selection import WIDER, Candidate, least_sure, select
from tlearn.settings import make_config
from tlearn.training.probe import Probe, fit_probe, sample
from tlearn.training.regression import probabilities

LABELLED, MEASURED, CHOSEN = 0.1, 0.3, 50


def labelling(sets: Sequence[str], seeds: int = 20) -> list[dict[str, Any]]:
    """Measure one set after another; return accuracies by seed, and the gain with its interval."""
    rows = []
    for name in sets:
        x, y = _features(SHARED / "data" / name)
        accuracies = np.array([_of_seed(x, y, seed) for seed in range(seeds)])
        gains = accuracies[:, 2] - accuracies[:, 1]
        before, at_random, chosen = accuracies.mean(axis=0)
        half = 1.96 * gains.std(ddof=1) / np.sqrt(seeds)
        row = {"set": name, "before": before, "random": at_random, "chosen": chosen, "half": half}
        print(f"  {name}: {labelling_row(row)}", flush=True)
        rows.append(row)
    return rows


def labelling_row(row: dict[str, Any]) -> str:
    """Return a row of :func:`labelling` in words."""
    gain, half = row["chosen"] - row["random"], row["half"]
    noise = "" if abs(gain) > half else ", within noise"
    return (
        f"{row['before']:.1%} before, {row['random']:.1%} with {CHOSEN} at random, "
        f"{row['chosen']:.1%} with {CHOSEN} chosen: {100 * gain:+.1f} ± {100 * half:.1f}{noise}"
    )


def _features(data: Path) -> tuple[np.ndarray, np.ndarray]:
    config = make_config(options={})
    manifest, splits = load_dataset(data, config, Silent())
    subsets = subsets_of(splits, config)
    with Cache(cache_folder(), config.disk_budget, print) as cache:
        setup = ComparisonSetup(config, manifest, splits, cache, Silent()).of(config.backbone)
        return features_of(setup, subsets), subsets.y


def _of_seed(x: np.ndarray, y: np.ndarray, seed: int) -> list[float]:
    """Return the accuracy before, with photos at random, and with those chosen."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    measured, pool = np.split(order, [int(MEASURED * len(y))])
    labelled = pool[sample(y[pool], int(LABELLED * len(pool)), seed)]
    others = np.setdiff1d(pool, labelled)
    before = _probe(x, y, labelled, seed)
    # As the saved model gives them: standardised, and projected.
    kernel = np.random.default_rng(0).normal(size=(x.shape[1], WIDTH)) / np.sqrt(WIDTH)
    features = (x[others] - before.mean) / before.scale @ kernel
    says = probabilities(before.logits(x[others]))
    candidates = [
        Candidate(Path(str(position)), *outputs)
        for position, *outputs in zip(others, says, features, strict=True)
    ]
    least = least_sure(candidates, WIDER * CHOSEN)
    chosen = np.array([int(one.path.name) for one in select(least, CHOSEN, seed)])
    at_random = rng.choice(others, CHOSEN, replace=False)
    probes = [_probe(x, y, np.append(labelled, more), seed) for more in (at_random, chosen)]
    return [
        float((probe.logits(x[measured]).argmax(axis=1) == y[measured]).mean())
        for probe in (before, *probes)
    ]


def _probe(x: np.ndarray, y: np.ndarray, rows: np.ndarray, seed: int) -> Probe:
    return fit_probe(x[rows, None], y[rows], rows.astype(str).tolist(), [1.0] * (y.max() + 1), seed)
