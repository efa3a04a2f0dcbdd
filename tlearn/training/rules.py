"""Rules that watch the epochs of a stage: they end it, or lower its learning rate.

A rule is frozen; its own state is handed in and out, and is part of the training's state. So a
training that is continued decides as if it had never been interrupted.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tlearn.config import Monitor, Stage
from tlearn.training.best import ValidationScore

RuleState = dict[str, Any]  # numbers and lists of numbers by name; empty at first
Row = Mapping[str, Any]  # an epoch as in history.csv: epoch (from 1), loss, val_loss, ...
Ends = Literal["", "stage", "training"]
ENDS: tuple[Ends, ...] = ("", "stage", "training")  # the last of several wins
PLATEAU_FACTOR = 0.1  # as in Keras and PyTorch


@dataclass(frozen=True)
class Action:
    """What is to be done after an epoch.

    Attributes:
        rate_factor: What the learning rate is multiplied by.
        end: What ends.
        reason: Why, in a line for people; empty if it need not be said.
    """

    rate_factor: float = 1.0
    end: Ends = ""
    reason: str = ""


class Rule(Protocol):
    """What watches the epochs of a stage."""

    @property
    def name(self) -> str:
        """The key of its state; no two rules of a stage share one."""

    def after_epoch(self, state: RuleState, row: Row) -> tuple[RuleState, Action]:
        """Return its next state, and what is to be done."""


@dataclass(frozen=True)
class Divergence:
    """Ends a stage whose loss is not finite."""

    name = "divergence"

    def after_epoch(self, state: RuleState, row: Row) -> tuple[RuleState, Action]:
        """See :class:`Rule`."""
        return state, Action(end="" if math.isfinite(row["loss"]) else "stage")


@dataclass(frozen=True)
class EarlyStopping:
    """Ends a stage after so many epochs without improvement.

    Attributes:
        monitor: What must improve.
        patience: How many epochs.
        first: The earliest epoch it may end after, from 1.
    """

    monitor: Monitor
    patience: int
    first: int
    name = "early_stopping"

    def after_epoch(self, state: RuleState, row: Row) -> tuple[RuleState, Action]:
        """See :class:`Rule`."""
        state = _waiting(state, row, self.monitor)
        over = row["epoch"] >= self.first and state["waited"] >= self.patience
        return state, Action(end="stage" if over else "")


@dataclass(frozen=True)
class Plateau:
    """Lowers the learning rate after so many epochs without improvement.

    Attributes:
        monitor: What must improve.
        patience: How many epochs, since the last improvement or the last time it was lowered.
    """

    monitor: Monitor
    patience: int
    name = "plateau"

    def after_epoch(self, state: RuleState, row: Row) -> tuple[RuleState, Action]:
        """See :class:`Rule`."""
        state = _waiting(state, row, self.monitor)
        if state["waited"] < self.patience:
            return state, Action()
        return {**state, "waited": 0}, Action(rate_factor=PLATEAU_FACTOR)


@dataclass(frozen=True)
class TimeBudget:
    """Ends the training when its time is over.

    Attributes:
        deadline: By :func:`time.monotonic`.
    """

    deadline: float
    name = "time_budget"

    def after_epoch(self, state: RuleState, row: Row) -> tuple[RuleState, Action]:
        """See :class:`Rule`."""
        if time.monotonic() < self.deadline:
            return state, Action()
        return state, Action(end="training", reason="time budget used up: stopping here")


def rules_of(stage: Stage, deadline: float) -> tuple[Rule, ...]:
    """Return the rules that a stage is trained by.

    A stage does not end early in its first half, where validation falls before it rises, nor before
    :func:`settled` epochs.
    """
    settling = (n for n in range(1, stage.epochs + 1) if settled(stage, n))
    first = max(stage.epochs // 2 + 1, next(settling))
    rules: list[Rule] = [Divergence(), EarlyStopping(stage.monitor, stage.patience, first)]
    if stage.schedule == "plateau":
        rules.append(Plateau(stage.monitor, max(1, stage.patience // 2)))
    return (*rules, TimeBudget(deadline))


def settled(stage: Stage, epochs: int) -> bool:
    """Tell whether the rate has come down so far that the score after ``epochs`` can be trusted.

    At a high rate the weights leap about, and the best of many such epochs on a small validation
    set is mostly luck: measured on held-back photos, the last quarter of a cosine is better.
    """
    return stage.schedule != "cosine" or epochs > 0.75 * stage.epochs


def after_epoch(
    rules: Sequence[Rule], states: Mapping[str, RuleState], row: Row
) -> tuple[dict[str, RuleState], list[Action]]:
    """Ask all rules after an epoch; return their states by name, and what is to be done."""
    asked = {rule.name: rule.after_epoch(states.get(rule.name, {}), row) for rule in rules}
    return {name: state for name, (state, _) in asked.items()}, [a for _, a in asked.values()]


def _waiting(state: RuleState, row: Row, monitor: Monitor) -> RuleState:
    """Count the epochs since the best one."""
    rank = ValidationScore(row["val_accuracy"], row["val_loss"]).rank(monitor)
    if not state or rank > tuple(state["best"]):
        return {"best": list(rank), "waited": 0}
    return {**state, "waited": state["waited"] + 1}
