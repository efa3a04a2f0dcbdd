"""What a run answers, and how right it is, if it answers from some probability upwards alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlearn.runs.class_figures import Share, share_of
from tlearn.runs.outputs import Outputs

STEPS = 100  # thresholds of a curve


@dataclass(frozen=True)
class AtThreshold:
    """What a run answers from a probability upwards.

    Attributes:
        threshold: The probability.
        images: How many images there are: of one class its own, else all.
        answered: How many are answered: of one class, how many are called it.
        right: How many of those rightly.
    """

    threshold: float
    images: int
    answered: int
    right: int

    @property
    def precision(self) -> Share | None:
        """How many of the answers are right; ``None`` without any."""
        return share_of(self.right, self.answered)

    @property
    def recall(self) -> Share | None:
        """How many of all images are answered rightly; ``None`` without any."""
        return share_of(self.right, self.images)


@dataclass(frozen=True)
class Answers:
    """The answers that a threshold decides about.

    Attributes:
        scores: The probability of each, ``(n,)``.
        right: Whether each would be right, ``(n,)``.
        images: How many images could be answered rightly.
    """

    scores: np.ndarray
    right: np.ndarray
    images: int

    @classmethod
    def of(cls, outputs: Outputs, labels: Sequence[str], label: str | None = None) -> "Answers":
        """Return the answers to held-out images.

        Args:
            outputs: Of the images.
            labels: The classes of the model.
            label: One class, which is given as an answer wherever its probability reaches the
                threshold; the likeliest class of each image if not given.
        """
        true = np.asarray(outputs.labels)
        if label is None:
            guesses = np.asarray(labels)[outputs.probabilities.argmax(axis=1)]
            return cls(outputs.probabilities.max(axis=1), guesses == true, len(true))
        right = true == label
        return cls(outputs.probabilities[:, list(labels).index(label)], right, int(right.sum()))

    def at(self, threshold: float) -> AtThreshold:
        """Return what is answered from a probability upwards."""
        answered = self.scores >= threshold
        right = int((self.right & answered).sum())
        return AtThreshold(threshold, self.images, int(answered.sum()), right)

    def curve(self) -> list[dict[str, Any]]:
        """Return precision and recall over the thresholds, for the chart."""
        points = [self.at(step / STEPS) for step in range(STEPS + 1)]
        return [
            {"threshold": point.threshold, "quantity": name, "value": share.value}
            for point in points
            for name, share in (("precision", point.precision), ("recall", point.recall))
            if share is not None
        ]
