"""How an error falls with the number of training images, and how far it would fall with more.

The error of a classifier over ``n`` training images falls about as ``a * n**-b + c``: Cortes,
Learning curves: asymptotic values and rate of convergence (NIPS 1994); Hestness and others, Deep
learning scaling is predictable, empirically (2017). What a fit to a few sizes does not know is
large; it is estimated by fitting the law to errors that are drawn anew (the bootstrap of Efron,
1979): held-out images, by group, and the subsets that were trained on.
"""

from dataclasses import dataclass

import numpy as np

from tlearn.runs.measurement import LEVEL, interval

EXPONENTS = np.linspace(0.05, 1.5, 30)  # of the law that are tried
DRAWS = 1000  # of the bootstrap
OFF = 0.003  # how far from the law errors are, beside what the draws tell
MORE = 2  # times the images that there are: a claim beyond that would be a guess
QUANTILES = (LEVEL / 2, 0.5, 1 - LEVEL / 2)
CLEAR = 0.001  # a lower end under that is none
FEW_ERRORS = 5
LITTLE = 0.01  # a gain under that is not worth the work


@dataclass(frozen=True)
class Law:
    """``error(n) = a * n**-b + c``, several of them at once: each field is ``(fits,)``.

    Attributes:
        loss: The weighted squares that the fit leaves.
    """

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    loss: np.ndarray

    def error(self, images: float) -> np.ndarray:
        """Return the errors over so many training images, ``(fits,)``, from 0 to 1."""
        return np.asarray(self.a * float(images) ** -self.b + self.c)


@dataclass(frozen=True)
class Forecast:
    """What more training images would likely bring.

    Attributes:
        images: How many training images there are.
        more: How many there would be.
        gain: How much more often the probe would be right then: the median of the draws.
        ci95: The 95% interval of that.
        law: For each draw, the law it gives.
    """

    images: int
    more: int
    gain: float
    ci95: tuple[float, float]
    law: Law

    def accuracy(self, images: float) -> tuple[float, float, float]:
        """Return the accuracy over so many images, and its 95% interval; each from 0 to 1."""
        low, middle, high = np.quantile(1 - self.law.error(images), QUANTILES)
        return float(middle), float(low), float(high)

    @property
    def text(self) -> str:
        """It, for people."""
        low, high = self.ci95
        points = [f"{100 * x:.1f}" for x in (self.gain, low, high)]
        whom = f"{self.more - self.images:,} more photos of the same kind"
        if high < LITTLE:
            return f"{whom} would hardly help: {points[2]} points at most"
        if low < CLEAR:
            return f"it cannot be told what {whom} would bring: {points[1]} to {points[2]} points"
        about = f"would bring about {points[0]} points"
        return f"{whom} {about} (95% interval {points[1]} to {points[2]}), as the curve goes so far"


def forecast(sizes: np.ndarray, wrong: np.ndarray, groups: np.ndarray, seed: int) -> Forecast:
    """Return what :data:`MORE` times the images would likely bring.

    Each draw takes held-out images, by group, and repetitions with replacement, and fits the law
    with and without a remaining error. Of the two it keeps one, as often as Akaike's weights say: a
    few sizes cannot tell them apart, and they go different ways beyond.

    Args:
        sizes: Numbers of training images, rising, ``(sizes,)``.
        wrong: Whether a probe of each repetition and size is wrong about each held-out image,
            ``(repetitions, sizes, images)``.
        groups: For each held-out image, the number of what it stays together with.
        seed: Decides the draws.
    """
    rng = np.random.default_rng(seed)
    draws = _draw(wrong, np.unique(groups, return_inverse=True)[1], rng)
    off = OFF**2 * np.eye(len(sizes))
    laws = fit_laws(sizes, draws, np.cov(draws.T) + off)
    alone = rng.random(DRAWS) < 1 / (1 + np.exp((laws[1].loss - laws[0].loss - 2) / 2))
    law = Law(*np.where(alone, *map(_fields, laws[::-1])))
    images = int(sizes[-1])
    gains = law.error(images) - law.error(MORE * images)
    low, gain, high = map(float, np.quantile(gains, QUANTILES))
    last = wrong[:, -1].mean(axis=0)
    if last.sum() < FEW_ERRORS:  # too few to draw from: no more than all of them can go
        high = max(high, 1 - interval(1 - float(last.mean()), len(last))[0])
    return Forecast(images, MORE * images, gain, (low, high), law)


def _fields(law: Law) -> np.ndarray:
    return np.stack([law.a, law.b, law.c, law.loss])


def _draw(wrong: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return errors ``(draws, sizes)`` of held-out groups and repetitions drawn anew."""
    repeats, number = len(wrong), int(groups.max()) + 1
    images = np.bincount(groups, minlength=number)
    sums = np.stack(  # (repetitions, sizes, groups)
        [[np.bincount(groups, row, minlength=number) for row in repetition] for repetition in wrong]
    )
    draws = np.empty((DRAWS, wrong.shape[1]))
    for draw in draws:
        times = rng.multinomial(number, np.full(number, 1 / number))
        of_repeats = rng.multinomial(repeats, np.full(repeats, 1 / repeats)) / repeats
        draw[:] = np.tensordot(of_repeats, sums @ times, 1) / (images @ times)
    return draws


def fit_laws(sizes: np.ndarray, errors: np.ndarray, covariance: np.ndarray) -> tuple[Law, Law]:
    """Fit the law by generalised least squares: with a remaining error ``c``, and without.

    ``a`` and ``c`` are not negative.

    Args:
        sizes: Numbers of training images, ``(sizes,)``.
        errors: Of several curves, ``(fits, sizes)``.
        covariance: Of the errors of a curve, ``(sizes, sizes)``.
    """
    root = np.linalg.inv(np.linalg.cholesky(covariance))
    x = sizes ** -EXPONENTS[:, None] @ root.T  # (exponents, sizes), and all else, whitened
    one, white = root.sum(axis=1), errors @ root.T
    xx, x1, xe = (x**2).sum(axis=1), x @ one, white @ x.T
    alone = np.maximum(0.0, xe / xx)  # (fits, exponents)
    e1 = white @ one[:, None]
    slope = (xe * (one @ one) - e1 * x1) / (xx * (one @ one) - x1**2)
    slope = np.maximum(0.0, slope)
    rest = (e1 - slope * x1) / (one @ one)
    a, c = np.where(rest < 0, alone, slope), np.maximum(rest, 0.0)
    return _best(a, c, x, one, white), _best(alone, np.zeros_like(c), x, one, white)


def _best(a: np.ndarray, c: np.ndarray, x: np.ndarray, one: np.ndarray, white: np.ndarray) -> Law:
    """Return, for each curve, the exponent with the least loss."""
    losses = ((a[..., None] * x + c[..., None] * one - white[:, None]) ** 2).sum(axis=-1)
    best, rows = losses.argmin(axis=1), np.arange(len(white))
    return Law(a[rows, best], EXPONENTS[best], c[rows, best], losses[rows, best])
