"""How the learning rate of a stage falls: one record per schedule."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule.

    Attributes:
        sets_rate: Whether it sets the rate, so that neither callbacks nor rules of plugins may.
        rate: Gives what Keras's optimizer takes as the rate, from the peak rate, the steps of the
            warm-up and all steps of the stage.
        patience: Gives after how many epochs without improvement the rate is lowered, from the
            stage's ``patience``; ``None`` where it is not lowered so.
        settled_from: The part of a stage's epochs after which the rate is so low that the score on
            validation can be trusted. At a high rate the weights leap about, and the best of many
            such epochs on a small validation set is mostly luck: measured on held-back photos, the
            last quarter of a cosine is better.
    """

    sets_rate: bool
    rate: Callable[[float, int, int], Any] = lambda peak, warmup, steps: peak
    patience: Callable[[int], int] | None = None
    settled_from: float = 0.0


def _cosine(peak: float, warmup: int, steps: int) -> Any:
    """Return a rise from zero in the warm-up, and half a cosine down to zero."""
    from tlearn.keras_import import keras

    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else peak,
        max(1, steps - warmup),
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
    )


SCHEDULES = {
    "cosine": Schedule(sets_rate=True, rate=_cosine, settled_from=0.75),
    "constant": Schedule(sets_rate=False),
    "plateau": Schedule(sets_rate=True, patience=lambda patience: max(1, patience // 2)),
}
