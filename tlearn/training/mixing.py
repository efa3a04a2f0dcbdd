"""Mixup and cutmix, on activations as on pixels."""

from collections.abc import Sequence

import numpy as np

from tlearn.config import Stage

Batch = tuple[list[np.ndarray], np.ndarray, np.ndarray]  # inputs, targets, weights


def mix(batch: Batch, stage: Stage, seed: Sequence[int]) -> Batch:
    """Return a batch mixed with itself as a stage asks for, or as it is.

    Pixels or activations at a boundary are mixed, and pooled features below it in the same part
    (Verma et al., Manifold mixup, ICML 2019). Where a stage asks for both, each batch is mixed in
    one of the two ways; without maps there is nothing to cut, and they are mixed.

    Args:
        batch: Inputs ``(n, ...)``, targets ``(n, classes)`` and weights ``(n,)``.
        stage: Its ``mixup`` (Zhang et al., ICLR 2018) and ``cutmix`` (Yun et al., ICCV 2019).
        seed: Decides what is mixed with what.
    """
    if not stage.mixup and not stage.cutmix:
        return batch
    rng = np.random.default_rng(seed)
    inputs, targets, weights = batch
    cuts = stage.cutmix and (not stage.mixup or rng.random() < 0.5)
    alpha = stage.cutmix if cuts else stage.mixup
    part = float(rng.beta(alpha, alpha))
    others = rng.permutation(len(targets))
    maps = [x for x in inputs if x.ndim == 4]
    if cuts and maps:
        box, part = _box(maps[0].shape[1:3], part, rng)
        mixed = [_cut(x, others, box) if x.ndim == 4 else _mean(x, others, part) for x in inputs]
    else:
        mixed = [_mean(x, others, part) for x in inputs]
    return mixed, _mean(targets, others, part), _mean(weights, others, part)


def _mean(x: np.ndarray, others: np.ndarray, part: float) -> np.ndarray:
    mean = part * x.astype(np.float32) + (1 - part) * x[others].astype(np.float32)
    return np.asarray(mean, np.float32)


def _box(
    shape: tuple[int, ...], part: float, rng: np.random.Generator
) -> tuple[tuple[slice, slice], float]:
    """Return a rectangle of about ``1 - part`` of a map, and the part that is outside of it."""
    sides = [round(side * np.sqrt(1 - part)) for side in shape]
    starts = [rng.integers(0, side - size + 1) for side, size in zip(shape, sides, strict=True)]
    rows, columns = (slice(a, a + size) for a, size in zip(starts, sides, strict=True))
    return (rows, columns), 1 - sides[0] * sides[1] / (shape[0] * shape[1])


def _cut(x: np.ndarray, others: np.ndarray, box: tuple[slice, slice]) -> np.ndarray:
    cut = x.astype(np.float32)
    rows, columns = box
    cut[:, rows, columns] = x[others][:, rows, columns]
    return cut
