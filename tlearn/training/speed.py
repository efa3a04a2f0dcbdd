"""How fast this machine computes activations, and whether that can be relied upon."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from tlearn.features.activations import Activations, Item
from tlearn.features.built_backbone import FEATURES

WARM_UP = 8  # views computed first, to make the engine ready
BENCHMARK_SECONDS = 1.0  # that a speed is measured, at most twice that where it varies
TRIALS = 2  # that must agree
AGREE = 0.8  # the least ratio of two speeds that agree
BUSY = 50.0  # per cent of the processors in use by others at which the machine is busy
UNSURE = "speeds and seconds are unsure; measure again when it is idle"


@dataclass(frozen=True)
class Throughput:
    """A measured speed.

    Attributes:
        rate: Views per second through decoding and the frozen part.
        sure: Whether the trials agree, and nobody else used the processors.
    """

    rate: float
    sure: bool


def throughput(activations: Activations, items: Sequence[Item]) -> Throughput:
    """Measure views per second through decoding and the frozen part, whatever is kept.

    Trials that disagree are repeated; the fastest is what the machine can do.

    Args:
        activations: The activations.
        items: Views to measure it on, again and again where they are few.
    """
    for _ in activations.computed(items[:WARM_UP], (FEATURES,)):
        pass
    busy = psutil.cpu_percent(BENCHMARK_SECONDS / 10) > BUSY
    rates = [_trial(activations, items) for _ in range(TRIALS)]
    if not _agree(rates):
        rates += [_trial(activations, items) for _ in range(TRIALS)]
    return Throughput(max(rates), _agree(sorted(rates)[-TRIALS:]) and not busy)


def _agree(rates: Sequence[float]) -> bool:
    return min(rates) >= AGREE * max(rates)


def _trial(activations: Activations, items: Sequence[Item]) -> float:
    count, start = 0, time.monotonic()
    again = itertools.chain.from_iterable(
        activations.computed(items, (FEATURES,)) for _ in itertools.count()
    )
    for keys, _ in again:
        count += len(keys)
        seconds = time.monotonic() - start
        if seconds >= BENCHMARK_SECONDS / TRIALS:
            break
    return count / seconds
