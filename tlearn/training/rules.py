"""What validation decides: which weights are better, when a stage ends, when its rate falls."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import numpy as np

from tlearn.backbones import Decision, Rule, load_registry
from tlearn.backbones.extensions import Ends
from tlearn.config import Stage
from tlearn.monitors import MONITORS
from tlearn.schedules import SCHEDULES

Row = Mapping[str, Any]  # an epoch, as in history.csv
PLATEAU_FACTOR = 0.1  # as in Keras and PyTorch


@dataclass(frozen=True)
class ValidationScore:
    """How good a network or an ensemble is on validation.

    Attributes:
        figures: The value of every one of :data:`tlearn.monitors.MONITORS`, by its name.
    """

    figures: dict[str, float]

    @classmethod
    def of(cls, y: np.ndarray, logits: np.ndarray) -> "ValidationScore":
        """Score logits ``(n, classes)`` against class indices; :data:`WORST` if not finite."""
        if not np.isfinite(logits).all():
            return WORST
        return cls({name: monitor.compute(y, logits) for name, monitor in MONITORS.items()})

    @property
    def accuracy(self) -> float:
        """The part of the images that is classified right."""
        return self.figures["val_accuracy"]

    def by_key(self) -> dict[str, float]:
        """Return the figures by their keys in ``metrics.json``."""
        return {monitor.key: self.figures[name] for name, monitor in MONITORS.items()}

    def rank(self, monitor: str) -> list[float]:
        """Return what grows with how good it is; the other figures decide between equals."""
        names = sorted(MONITORS, key=lambda name: name != monitor)
        return [
            self.figures[n] if MONITORS[n].higher_is_better else -self.figures[n] for n in names
        ]


WORST = ValidationScore({name: monitor.worst for name, monitor in MONITORS.items()})


def is_better(score: ValidationScore, than: ValidationScore | None, monitor: str) -> bool:
    """Return whether a score replaces another; ``None`` is no score yet."""
    if not all(map(math.isfinite, score.figures.values())):
        return False
    return than is None or score.rank(monitor) > than.rank(monitor)


def rules_for(stage: Stage, deadline: float = math.inf) -> list[Rule]:
    """Return the rules of a stage: our own, and those of plugins.

    Args:
        stage: The stage.
        deadline: When the time budget is used up, by :func:`time.monotonic`.

    Raises:
        PluginError: If a plugin fails.
    """
    rules = [
        Rule("finite loss", _finite_loss),
        Rule("early stopping", partial(_early_stopping, stage)),
        Rule("time budget", partial(_time_budget, deadline)),
    ]
    patience = SCHEDULES[stage.schedule].patience
    if patience is not None:
        rules.append(Rule("plateau", partial(_plateau, stage, patience(stage.patience))))
    return rules + load_registry().rules(stage)


def decide(rules: Sequence[Rule], states: Mapping[str, Any], row: Row) -> Decision:
    """Return what all rules decide together, with their states by name.

    Args:
        rules: The rules.
        states: Those returned after the epoch before, empty at first.
        row: The epoch.
    """
    decisions = {rule.name: rule.after_epoch(states.get(rule.name), row) for rule in rules}
    # Of ends that reach as far, one that gives a reason, so that it is shown.
    most = max(decisions.values(), key=lambda d: (get_args(Ends).index(d.ends), d.reason))
    return Decision(
        {name: decision.state for name, decision in decisions.items()},
        math.prod(decision.factor for decision in decisions.values()),
        most.ends,
        most.reason,
    )


def _finite_loss(state: None, row: Row) -> Decision:
    """End a stage whose loss is not finite."""
    return Decision(ends="" if math.isfinite(row["loss"]) else "stage")


def _time_budget(deadline: float, state: None, row: Row) -> Decision:
    """End the training when its time is over."""
    if time.monotonic() < deadline:
        return Decision()
    return Decision(ends="training", reason="time budget used up")


def _early_stopping(stage: Stage, state: Any, row: Row) -> Decision:
    """End a stage after ``patience`` epochs without improvement, from :func:`earliest_end` on.

    Epochs before the stage is settled count too, though their weights are never taken for the best:
    the settled part alone, a quarter of a cosine, is rarely longer than the patience.
    """
    state = _since_best(stage, state, row)
    over = row["epoch"] >= earliest_end(stage) and state["epochs"] >= stage.patience
    if not over:
        return Decision(state)
    early = row["epoch"] < stage.epochs
    reason = f"no improvement in {state['epochs']} epochs" if early else ""
    return Decision(state, ends="stage", reason=reason)


def _plateau(stage: Stage, patience: int, state: Any, row: Row) -> Decision:
    """Lower the rate after so many epochs without improvement, again and again."""
    state = _since_best(stage, state, row)
    if state["epochs"] < patience:
        return Decision(state)
    return Decision(state | {"epochs": 0}, PLATEAU_FACTOR)


def _since_best(stage: Stage, state: Any, row: Row) -> dict[str, Any]:
    """Return the best figures of a stage so far, and how many epochs ago they were."""
    score = ValidationScore({name: row[name] for name in MONITORS})
    if state is None or is_better(score, ValidationScore(state["best"]), stage.monitor):
        return {"best": score.figures, "epochs": 0}
    return {**state, "epochs": state["epochs"] + 1}


def earliest_end(stage: Stage) -> int:
    """Return the first epoch, from 1, after which early stopping may end a stage.

    Not in its first half, where validation falls before it rises, nor before it is settled.
    """
    settling = (n for n in range(1, stage.epochs + 1) if is_settled(stage, n))
    return max(stage.epochs // 2 + 1, next(settling))


def is_settled(stage: Stage, epochs: int) -> bool:
    """Return whether the learning rate is so low that the score after ``epochs`` can be trusted."""
    return epochs > SCHEDULES[stage.schedule].settled_from * stage.epochs
