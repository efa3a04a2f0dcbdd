"""How the learning rate of a stage falls: one record per schedule, with its class in Keras."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Span:
    """What a schedule goes over.

    Attributes:
        peak: The stage's learning rate.
        warmup: Steps in which the rate rises from zero.
        epoch: Steps in an epoch.
        total: Steps in the stage.
    """

    peak: float
    warmup: int
    epoch: int
    total: int


Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule.

    Attributes:
        keras: Its class in ``keras.optimizers.schedules``; empty where the rate is a number.
        arguments: Gives what that class is called with, from the span of the stage; what the user
            gives comes before it.
        reads: Gives the user's arguments as that class takes them.
        sets_rate: Whether it sets the rate, so that neither callbacks nor rules of plugins may.
        settled_from: The part of a stage's epochs after which the rate is so low that the score on
            validation can be trusted. At a high rate the weights leap about, and the best of many
            such epochs on a small validation set is mostly luck: measured on held-back photos, the
            last quarter of a cosine is better.
    """

    keras: str = ""
    arguments: Callable[[Span], dict[str, Any]] = lambda span: {}
    reads: Callable[[Arguments, Span], dict[str, Any]] = lambda given, span: dict(given)
    sets_rate: bool = True
    settled_from: float = 0.0


def _cosine(span: Span) -> dict[str, Any]:
    """Return a rise from zero in the warm-up, and half a cosine down to zero."""
    return {
        "initial_learning_rate": 0.0 if span.warmup else span.peak,
        "decay_steps": max(1, span.total - span.warmup),
        "warmup_target": span.peak if span.warmup else None,
        "warmup_steps": span.warmup,
    }


def _falls_by_epoch(decay_rate: float) -> Callable[[Span], dict[str, Any]]:
    """Return a fall by so much in each epoch."""
    return lambda span: {
        "initial_learning_rate": span.peak,
        "decay_steps": span.epoch,
        "decay_rate": decay_rate,
    }


def _table(given: Arguments, span: Span) -> dict[str, Any]:
    """Read ``rates: [[0, 0.2], [10, 0.02]]``: 0.2, and 0.02 when 10 epochs are over."""
    rows, rest = given.get("rates"), {k: v for k, v in given.items() if k != "rates"}
    try:
        epochs, rates = zip(*[(int(epoch), float(rate)) for epoch, rate in rows or ()], strict=True)
    except (TypeError, ValueError):
        epochs, rates = (), ()
    rising = all(a < b for a, b in itertools.pairwise(epochs))
    if not epochs or epochs[0] or not rising or min(rates) <= 0:
        raise ValueError(
            f"rates must be pairs [epochs, rate] with epochs that rise from 0, as in "
            f"[[0, 0.2], [10, 0.02]]. Received: {rows!r}"
        )
    # Keras changes the value after the step at a boundary; steps count from 0.
    return {"boundaries": [n * span.epoch - 1 for n in epochs[1:]], "values": list(rates), **rest}


SCHEDULES = {
    "cosine": Schedule("CosineDecay", _cosine, settled_from=0.75),
    "constant": Schedule(sets_rate=False),
    "exponential": Schedule("ExponentialDecay", _falls_by_epoch(0.9)),
    "inverse_time": Schedule("InverseTimeDecay", _falls_by_epoch(1.0)),
    "polynomial": Schedule(
        "PolynomialDecay",
        lambda span: {
            "initial_learning_rate": span.peak,
            "decay_steps": span.total,
            "end_learning_rate": 0.0,
        },
        settled_from=0.75,
    ),
    "piecewise": Schedule("PiecewiseConstantDecay", reads=_table),
    "plateau": Schedule(),
}
