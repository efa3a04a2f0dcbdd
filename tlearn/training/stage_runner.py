"""Where a training stands among its stages: what leads, what is over, what is noted of it."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tlearn.training.network import Network, copies
from tlearn.training.stages import Plan
from tlearn.training.state import (
    Arrays,
    Checkpoint,
    Checkpointer,
    StageResult,
    TrainingState,
    ValidationScore,
)


class BestWeights:
    """The best weights so far, over all stages, by their score."""

    def __init__(self, network: Network, score: ValidationScore | None) -> None:
        self.network, self.score, self.weights = network, score, network.snapshot()

    def offer(self, score: ValidationScore, result: StageResult) -> None:
        """Take the network as it is if its score is better, and note it in the stage's result."""
        result.score = max(result.score, score)
        usable = np.isfinite(score.negative_loss)
        if usable and (self.score is None or score > self.score):
            self.score, self.weights = score, self.network.snapshot()
            result.kept = True


class StageProgress:
    """The stages of a training, from its beginning or from a checkpoint on.

    Attributes:
        best_weights: The best weights so far.
        results: Of the stages that have begun.
        before: The weights before the present stage.
    """

    def __init__(
        self,
        network: Network,
        plans: Sequence[Plan],
        best: ValidationScore | None,
        checkpointer: Checkpointer,
    ) -> None:
        self.network, self.plans, self.checkpointer = network, plans, checkpointer
        self.best_weights = BestWeights(network, best)
        self.results: list[StageResult] = []
        self.before = self.best_weights.weights
        self._number, self._found = 0, checkpointer.found
        if self._found is None:
            self.note()
            return
        at, arrays = self._found.at, self._found.arrays
        self._number, self.results, self.best_weights.score = at.stage, at.results, at.score
        places = changed(network, plans, at)
        self.best_weights.weights = network.filled(places, arrays["leader"])
        self.before = self.best_weights.weights
        if "before" in arrays:
            self.before = network.filled(places, arrays["before"])
        network.seeds = arrays["seeds"]
        network.restore(self.best_weights.weights)

    def left(self) -> Iterator[Plan]:
        """Yield the stages that are not over."""
        while self._number < len(self.plans):
            yield self.plans[self._number]

    def begin(self, plan: Plan) -> StageResult:
        """Return the result of a stage: a new one, or what there is of it so far."""
        if len(self.results) == self._number:
            self.results.append(
                StageResult(plan.stage.title, plan.boundary.name if plan.boundary else "head")
            )
            self.before = self.best_weights.weights
        self._start = time.monotonic() - self.results[-1].seconds
        return self.results[-1]

    def enter(self, optimizer: Any) -> None:
        """Put network and optimizer into the state in which the checkpoint found them."""
        found, self._found = self._found, None
        if found is None or not found.at.epoch:
            return
        places = changed(self.network, self.plans, found.at)
        self.network.restore(self.network.filled(places, found.arrays["network"]))
        for variable, value in zip(optimizer.variables, found.arrays["optimizer"], strict=True):
            variable.assign(value)

    def note(self, optimizer: Any = None) -> None:
        """Note a checkpoint: in the middle of a stage with its optimizer, or between stages."""
        checkpointer, epoch = self.checkpointer, 0
        if checkpointer.path is None or checkpointer.course is None:
            return
        if optimizer is not None:
            self.results[-1].seconds = time.monotonic() - self._start
            epoch = self.results[-1].epochs
        at = TrainingState(
            checkpointer.course,
            self._number,
            epoch,
            [replace(result, history=list(result.history)) for result in self.results],
            self.best_weights.score,
            checkpointer.clock.seconds(),
        )
        places = changed(self.network, self.plans, at)
        arrays: Arrays = {"leader": [self.best_weights.weights[i] for i in places]}
        arrays["seeds"] = self.network.seeds
        if optimizer is not None:
            weights = self.network.whole.weights
            arrays["network"] = copies(weights[i] for i in places)
            arrays["optimizer"] = copies(optimizer.variables)
            if self.before is not self.best_weights.weights:
                arrays["before"] = [self.before[i] for i in places]
        checkpointer.note(Checkpoint(at, arrays), now=optimizer is None)

    def end(self, stopped: bool) -> None:
        """End a stage; one that the user stopped can be continued after its last whole epoch."""
        self.results[-1].seconds = time.monotonic() - self._start
        if stopped:
            with contextlib.suppress(KeyboardInterrupt):
                self.checkpointer.flush()
        else:
            self._number += 1
            self.note()


def changed(network: Network, plans: Sequence[Plan], at: TrainingState) -> list[int]:
    """Return which of a network's weights may have changed when a training stands there."""
    begun = plans[: at.stage + (at.epoch > 0)]
    return network.places(frozenset().union(*(p.trainable for p in begun)))


def check(network: Network, plans: Sequence[Plan], found: Checkpoint) -> None:
    """Refuse a checkpoint that is not of this network and these stages.

    Raises:
        ValueError: If it is of others.
        KeyError: If it lacks arrays.
    """
    weights = network.whole.weights
    shapes = [tuple(weights[i].shape) for i in changed(network, plans, found.at)]
    needed = ["leader", "network"] if found.at.epoch else ["leader"]
    some = [found.arrays[name] for name in needed]
    some += [found.arrays["before"]] if "before" in found.arrays else []
    if any([array.shape for array in arrays] != shapes for arrays in some):
        raise ValueError("its weights are not those of this network")
    if len(found.arrays["seeds"]) != len(network.seeds):
        raise ValueError("its random numbers are not those of this network")
