"""Photos unlike those that a model was trained on, which it gives some class all the same."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from tlearn.errors import ConfigError
from tlearn.runs.classifier import ModelOutputs
from tlearn.runs.measurement import interval
from tlearn.runs.outputs import Outputs
from tlearn.text import percent

REJECT = 0.05  # the part of photos of known classes that may be called unknown, if not given
MOST_REJECT = 0.5
NEIGHBOUR = 5  # the distance to the nearest training photo but four
MOST_COMPARED = 2000  # training photos, and validation photos, that are compared with
ROWS = 2000  # photos that are compared with them at a time: 16 MB for each of a few arrays
WEIGHTS = np.array([1.0, 1.0, 0.5])  # of distance, cosine distance and doubt
FEWEST = 3  # validation photos that their spread is taken from
SMALLEST_DISTANCE = 0.1  # copies of training photos are no nearer
SMALLEST_DOUBT = 1e-3


@dataclass(frozen=True)
class Strangeness:
    """How unlike training photos ``n`` photos are.

    Attributes:
        scores: ``(n,)``: the larger, the more unlike; on validation 0 on average.
        distances: To the fifth nearest training photo, ``(n,)``, where 1 is the distance of that
            photo to its own fifth nearest.
    """

    scores: np.ndarray
    distances: np.ndarray


class UnknownDetector:
    """Tells photos of other kinds from those of the classes that a model knows.

    The score of a photo is the sum of three figures, standardised by validation: the logarithm of
    its distance to the fifth nearest training photo, in terms of how far that is from its own
    neighbours; the cosine distance to the fifth nearest by angle (deep nearest neighbours, Sun et
    al., ICML 2022); and half the logarithm of one minus the probability of the likeliest class
    (Hendrycks and Gimpel, ICLR 2017). On the pairs of five photo sets this told them apart better
    than each alone, the Mahalanobis distance, and other sums. The features are those of the network
    before fine-tuning, which makes photos of other kinds more like those of the classes.

    Args:
        outputs: What the model gives for training and validation photos.
    """

    def __init__(self, outputs: Outputs) -> None:
        self._threads = ThreadpoolController()
        training, validation = (_some(outputs.of_split(s)) for s in ("train", "validation"))
        known = training.features[:, 0]
        self._mean = known.mean(axis=0)
        self._features = known - self._mean
        self._lengths = np.linalg.norm(self._features, axis=1)
        squares, _ = self._products(self._features)
        own = np.sqrt(_nth(squares, NEIGHBOUR + 1).clip(0))  # the first is the photo itself
        usual = float(np.median(own)) or 1.0
        self._own = np.maximum(own, max(SMALLEST_DISTANCE * usual, 1e-6))
        figures = self._figures(
            *self._distances(validation.features[:, 0]), validation.probabilities
        )
        self._centre, self._spread = figures.mean(axis=0), np.maximum(figures.std(axis=0), 1e-6)
        self._validation = np.sort(self._scores(figures))

    @property
    def images(self) -> int:
        """How many validation photos the threshold is from."""
        return len(self._validation)

    def strangeness(self, outputs: ModelOutputs) -> Strangeness:
        """Return how unlike training photos photos are, from what the model gives for them."""
        distances, cosines = self._distances(outputs.features[:, 0])
        scores = self._scores(self._figures(distances, cosines, outputs.probabilities))
        return Strangeness(scores, distances)

    def each(self, outputs: Sequence[ModelOutputs]) -> list[tuple[float, float]]:
        """Return the score and the distance of each of some photos; see :class:`Strangeness`."""
        if not outputs:
            return []
        strange = self.strangeness(ModelOutputs(*map(np.stack, zip(*outputs, strict=True))))
        return list(zip(strange.scores.tolist(), strange.distances.tolist(), strict=True))

    def threshold(self, reject: float) -> float:
        """Return the score above which photos are called unknown.

        It is that of a validation photo, so that new photos of the same classes are above it no
        more often than ``reject``, whatever the scores are like (split conformal prediction; Vovk
        et al., 2005). Where there are too few of them it is the bound of Student's t for one more
        score, as if they were normal; of fewer than three it is infinity.

        Args:
            reject: From 0, for infinity, to 0.5.

        Raises:
            ConfigError: If it is out of these bounds.
        """
        if not 0 <= reject <= MOST_REJECT:
            raise ConfigError(f"reject must be from 0 to {MOST_REJECT}. Received: {reject:g}")
        n = self.images
        rank = _rank(n, reject)
        if rank <= n:
            return float(self._validation[rank - 1])
        if reject == 0 or n < FEWEST:
            return math.inf
        from scipy.special import stdtrit

        spread = self._validation.std(ddof=1) * math.sqrt(1 + 1 / n)
        return float(self._validation.mean() + stdtrit(n - 1, 1 - reject) * spread)

    def record(self, outputs: Outputs, reject: float = REJECT) -> dict[str, Any]:
        """Return the part ``unknown`` of ``metrics.json``: how often known photos are rejected.

        Args:
            outputs: Those of the run; test photos, if there are any, are measured.
            reject: As of :meth:`threshold`.

        Returns:
            ``reject``; ``images`` of validation; ``expected``, which part of new photos of the same
            classes will be called unknown, with ``expected_ci95``, ``None`` where there are too few
            images; and ``test``: ``images``, ``rejected``, ``ci95``.
        """
        rank, n = _rank(self.images, reject), self.images
        record: dict[str, Any] = {
            "reject": reject,
            "images": n,
            "expected": (n + 1 - rank) / (n + 1) if rank <= n else None,
            "expected_ci95": None,
        }
        if rank <= n:
            from scipy.special import betaincinv

            # The part above the score of one of n photos, by its rank, is beta distributed.
            ends = [betaincinv(n + 1 - rank, rank, level) for level in (0.025, 0.975)]
            record["expected_ci95"] = list(map(float, ends))
        test = outputs.of_split("test")
        if len(test.files):
            scores = self.strangeness(ModelOutputs(test.probabilities, test.features)).scores
            rejected = int((scores > self.threshold(reject)).sum())
            part = interval(rejected / len(scores), len(scores))
            record["test"] = {"images": len(scores), "rejected": rejected, "ci95": part}
        return record

    def _products(self, centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return squared and cosine distances to the training photos, ``(n, m)``."""
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        with self._threads.limit(limits=1):  # others would spin beside the model for no gain
            products = centred @ self._features.T
        squares = lengths**2 + self._lengths**2 - 2 * products
        return squares, 1 - products / np.maximum(lengths * self._lengths, 1e-12)

    def _distances(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both distances to the fifth nearest training photo, ``(n,)``."""
        distances, cosines = np.empty((2, len(features)), np.float32)
        for start in range(0, len(features), ROWS):
            rows = slice(start, start + ROWS)
            squares, angles = self._products(features[rows].astype(np.float32) - self._mean)
            distances[rows] = np.sqrt(_nth(squares / self._own**2, NEIGHBOUR).clip(0))
            cosines[rows] = _nth(angles, NEIGHBOUR)
        return distances, cosines

    def _figures(self, distances: np.ndarray, cosines: np.ndarray, p: np.ndarray) -> np.ndarray:
        """Return the three figures of each photo, ``(n, 3)``."""
        doubt = np.log(1 - p.max(axis=1).clip(0, 1) + SMALLEST_DOUBT)
        return np.stack([np.log(distances.clip(SMALLEST_DISTANCE)), cosines, doubt], axis=1)

    def _scores(self, figures: np.ndarray) -> np.ndarray:
        scores: np.ndarray = (figures - self._centre) / self._spread @ WEIGHTS
        return scores


def unknown_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return lines on how often photos of known classes are called unknown."""
    record = metrics.get("unknown")
    if not record:
        return []
    if record["expected"] is None and record["images"] < FEWEST:
        words = f"no photo will be called so: it takes {FEWEST} validation photos or more"
    elif record["expected"] is None:
        images, reject = record["images"], record["reject"]
        words = (
            f"about {percent(reject)} of new photos of these classes will be called unknown; "
            f"{images} validation photos are too few to be sure"
        )
    else:
        low, high = record["expected_ci95"]
        words = (
            f"{percent(record['expected'])} of new photos of these classes will be called unknown "
            f"(95% interval {percent(low)} to {percent(high)})"
        )
    test = record.get("test")
    of_test = f"; of the {test['images']} test photos {test['rejected']} are" if test else ""
    return [f"unknown: {words}{of_test}"]


def _nth(rows: np.ndarray, place: int) -> np.ndarray:
    """Return the number at a place of each sorted row, from 1; the last if there are fewer."""
    last = min(place, rows.shape[1]) - 1
    return np.asarray(np.partition(rows, last, axis=1)[:, last])


def _rank(n: int, reject: float) -> int:
    """Return which of ``n`` scores in order is the threshold; more than ``n`` if none is."""
    return math.ceil((n + 1) * (1 - reject) - 1e-9)


def _some(outputs: Outputs) -> Outputs:
    """Return a sample of rows if there are very many."""
    n = len(outputs.files)
    rows = np.sort(np.random.RandomState(0).permutation(n)[:MOST_COMPARED])
    return outputs if n <= MOST_COMPARED else outputs.rows(rows)
