"""The probe: a regularised linear classifier on features, from which the head starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from tlearn.config import Taps
from tlearn.errors import BackboneError
from tlearn.progress import Progress
from tlearn.training import regression
from tlearn.training.cross_validation import (
    FOLDS,
    SAMPLE,
    STEPS,
    CrossValidation,
    choose_strength,
    few_threads,
)

if TYPE_CHECKING:
    from tlearn.features.built_backbone import Tap

FITS = STEPS * FOLDS + 1  # regressions that are fitted for a probe
JITTER = 1e-5  # of the largest square of a row: float32 products are right to about a tenth of it
PROBE_VIEWS = 2  # more views of the same photos change the probe by less than its noise
PROBE_NUMBERS = 8_000_000  # features times views times images, at most, that strengths are tried on
FEWER = 1280  # images that they are tried on where those of the data set are more than that
PER_CLASS = 16  # of those, at least: of more classes, some are left out


@dataclass(frozen=True)
class LinearHead:
    """A head without hidden layers: ``logits = (x - mean) / scale @ kernel + bias``.

    Attributes:
        mean: Feature means, ``(d,)``.
        scale: Feature standard deviations, ``(d,)``.
        kernel: ``(d, classes)``.
        bias: ``(classes,)``.
    """

    mean: np.ndarray
    scale: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return the logits ``(n, classes)`` of features ``(n, d)``."""
        return np.asarray((features - self.mean) / self.scale @ self.kernel + self.bias)

    def added_to(
        self, kernel: np.ndarray, bias: np.ndarray, mean: np.ndarray, scale: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return kernel and bias whose logits are the sum of its own and of those given.

        Those are for features that are standardised by ``mean`` and ``scale``.
        """
        own = self.kernel * (scale / self.scale)[:, None]
        return kernel + own, bias + self.bias + (mean - self.mean) / self.scale @ self.kernel


@dataclass(frozen=True)
class Probe(LinearHead):
    """A fitted probe.

    Attributes:
        cross_validation: How well such probes do on training images they were not fitted on.
    """

    cross_validation: CrossValidation


@dataclass(frozen=True)
class Start:
    """A trained head that a probe goes on from: the probe is that head and a penalised change.

    So it stays near what was learnt, as far as the photos do not speak against it (Evgeniou and
    Pontil, Regularized multi-task learning, KDD 2004).

    Attributes:
        new: For each image whether the head was not trained on it, ``(n,)``. Only those can tell
            how strong the penalty should be.
    """

    head: LinearHead
    new: np.ndarray


def sample(y: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return positions of at most ``most`` images, sorted, each class in its proportion.

    No class is missing, so there are more where there are more classes: the first image of each
    comes before the second of any.
    """
    rng = np.random.default_rng(seed)
    turns = np.zeros(len(y))
    for c, count in enumerate(np.bincount(y)):
        turns[y == c] = rng.permutation(count) / max(1, count)
    most = max(most, len(np.unique(y)))
    return np.sort(np.argsort(turns, kind="stable")[:most])


def sample_of_classes(y: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Return positions of at most ``most`` images, sorted, of as many classes as they suffice for.

    A regression is judged by enough images of some classes, ``PER_CLASS`` of each, rather than by
    one or two of all. Where all images are wanted, no class is missing.
    """
    classes = np.unique(y)
    if most < min(len(y), PER_CLASS * len(classes)):
        rng = np.random.default_rng(seed)
        classes = rng.choice(classes, max(2, most // PER_CLASS), replace=False)
    within = np.flatnonzero(np.isin(y, classes))
    return np.asarray(within[sample(y[within], most, seed)])


def sample_size(images: int, views: int, width: int) -> tuple[int, int]:
    """Return on how many images a probe's strength is chosen at most, and how many views it sees.

    ``width`` is the number of features of a view; ``views`` is 0 for fresh ones.
    """
    views = max(1, min(PROBE_VIEWS, views))
    most = PROBE_NUMBERS // (views * width)
    if most >= images:
        return most, views
    most = PROBE_NUMBERS // width
    return (most if most >= images else FEWER), 1


def fit_on_taps(
    features: np.ndarray,
    taps: tuple[Tap, ...],
    wanted: Taps,
    y: np.ndarray,
    groups: Sequence[str],
    class_weights: Sequence[float],
    seed: int,
    progress: Progress,
    start: Start | None = None,
) -> tuple[tuple[Tap, ...], Probe]:
    """Fit a probe on several depths, on the top, or on what cross-validation prefers.

    Takes the features ``(n, views, d)`` of all taps, upwards, and all else as :func:`fit_probe`
    does. Returns the taps that the probe sees, and the probe. It sees what the head saw that it
    starts from.
    """
    choices = {"multi": [taps], "top": [taps[-1:]], "auto": [taps, taps[-1:]]}[wanted]
    if start is not None:
        seen_before = len(start.head.mean)
        choices = [c for c in (taps, taps[-1:]) if sum(t.width for t in c) == seen_before][:1]
    fitted = []
    with progress.task("fitting the probe", len(choices) * FITS, "fits") as task:
        for chosen in choices:
            width = sum(tap.width for tap in chosen)  # the top's features are the last
            seen = features[..., -width:]
            probe = fit_probe(seen, y, groups, class_weights, seed, task.advance, start)
            fitted.append((chosen, probe))
    return min(fitted, key=lambda pair: pair[1].cross_validation.log_loss)


def fit_probe(
    features: np.ndarray,
    y: np.ndarray,
    groups: Sequence[str],
    class_weights: Sequence[float],
    seed: int,
    advance: Callable[[int], object] = lambda n: None,
    start: Start | None = None,
    strength: float | None = None,
) -> Probe:
    """Fit the probe, its strength chosen by cross-validation on the training images' plain views.

    The penalised regression does not care for rotations, so it is fitted in the coordinates of the
    samples' own span: as many as there are samples rather than features, and the same solution.

    Args:
        features: ``(n, views, d)``, the plain view first.
        y: Class indices of the ``n`` images.
        groups: For each image, what must stay in one fold: its content or group.
        class_weights: Weight of each class.
        seed: Decides the folds.
        advance: Called with how many of ``FITS`` are done.
        start: What it goes on from, if not from nothing.
        strength: The inverse regularisation, where it is known; nothing is cross-validated then.
    """
    n, views, d = features.shape
    mean, scale, flat = standardise(features.reshape(n * views, d))
    multiplications = n * views * min(n * views, d) * len(class_weights)
    with few_threads(multiplications):
        z, lifted = _span(flat)
        # Half as many dimensions for two views, a quarter the time.
        plain = _span(flat[::views])[0] if views > 1 else z
        given = start.head.logits(features.reshape(n * views, d)) if start else None
        known = (given[::views], start.new) if start and given is not None else None
        if strength is None:
            chosen = choose_strength(plain, y, groups, class_weights, seed, advance, known)
        else:
            none = np.zeros(0, int)
            chosen = CrossValidation(strength, 0.0, np.inf, none, none, strength)
        kernel, bias = regression.fit(
            z, np.repeat(y, views), chosen.strength, class_weights, given=given
        )
        advance(1)
    kernel = lifted(kernel)
    if start is not None:
        kernel, bias = start.head.added_to(kernel, bias, mean, scale)
    return Probe(mean, scale, kernel, bias, chosen)


def search_flops(n: int, d: int, classes: int) -> float:
    """Return about how many floating-point operations :func:`fit_probe` takes."""
    inside = min(n, SAMPLE) * (FOLDS - 1) // FOLDS
    span = 2.0 * n * n * d + n**3 / 3 if n < d else 0.0
    r = min(n, d)  # the coordinates of their span
    fits = STEPS * FOLDS * regression.flops(inside, r, classes) + regression.flops(n, r, classes)
    return span + fits


def require_finite(numbers: np.ndarray) -> None:
    """Refuse features, or what was computed from them, that are not finite numbers.

    Raises:
        BackboneError: If there are any.
    """
    if not np.isfinite(numbers).all():
        raise BackboneError(
            "the backbone gives numbers that are not finite: its weights are damaged, or were made "
            "for another; give others with --weights"
        )


def standardise(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return means and deviations of columns, ``(d,)``, and rows standardised by them, ``(n, d)``.

    Columns that hardly differ are not scaled.

    Raises:
        BackboneError: If there are numbers that are not finite.
    """
    mean = x.mean(axis=0)
    scale = x.std(axis=0)
    require_finite(scale)
    scale[scale < 1e-6 * max(1.0, float(scale.max()))] = 1.0
    return mean, scale, (x - mean) / scale


def _span(x: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Return the rows of x in the space that they span, and what lifts weights from there.

    A regression with a quadratic penalty has its weights in that space, which for few images is
    much smaller than the features'. Its rows ``(n, n)``, the Cholesky factor of x's inner products,
    have the same inner products; the function takes weights ``(n, c)`` on them to weights
    ``(d, c)`` on x.
    """
    n, d = x.shape
    if n >= d or not x.any():  # or features that are the same for every image
        return x, lambda weights: weights
    gram = (x @ x.T).astype(np.float64)
    gram[np.diag_indices(n)] += JITTER * gram.diagonal().max()
    root = cholesky(gram, lower=True, overwrite_a=True)

    def lift(weights: np.ndarray) -> np.ndarray:
        combined = solve_triangular(root, weights, trans="T", lower=True)
        return np.asarray(x.T @ combined.astype(x.dtype))

    return root.astype(x.dtype), lift
