"""What ends a stage or lowers its rate, and what it remembers of the epochs before."""

import json

import numpy as np
import pytest

from tlearn.config import Stage
from tlearn.training.best import WORST, ValidationScore, is_better
from tlearn.training.rules import (
    Action,
    Divergence,
    EarlyStopping,
    Plateau,
    TimeBudget,
    after_epoch,
    rules_of,
    settled,
)


def rows(accuracies, losses=None):
    losses = losses or [1.0] * len(accuracies)
    return [
        {"epoch": n, "loss": 1.0, "val_accuracy": a, "val_loss": loss}
        for n, (a, loss) in enumerate(zip(accuracies, losses, strict=True), start=1)
    ]


def actions_of(rule, history):
    """Run a rule over epochs; its state goes through JSON between them, as in a checkpoint."""
    state, actions = {}, []
    for row in history:
        state, action = rule.after_epoch(json.loads(json.dumps(state)), row)
        actions.append(action)
    return actions


def ended_after(rule, history):
    ends = [action.end for action in actions_of(rule, history)]
    return ends.index("stage") + 1 if "stage" in ends else None


def test_early_stopping_counts_from_the_best_epoch():
    falling = rows([0.5, 0.9, 0.8, 0.8, 0.8, 0.8])
    assert ended_after(EarlyStopping("val_accuracy", 2, 1), falling) == 4
    assert ended_after(EarlyStopping("val_accuracy", 2, 6), falling) == 6
    assert ended_after(EarlyStopping("val_accuracy", 5, 1), falling) is None


def test_the_monitor_decides_what_is_an_improvement():
    history = rows([0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6])
    assert ended_after(EarlyStopping("val_accuracy", 2, 1), history) == 3
    assert ended_after(EarlyStopping("val_loss", 2, 1), history) is None
    one, other = ValidationScore(0.9, 0.9), ValidationScore(0.8, 0.8)
    assert is_better(one, other, "val_accuracy") and not is_better(one, other, "val_loss")


def test_of_equal_accuracies_the_smaller_loss_is_better_and_nothing_beats_by_not_being_finite():
    assert is_better(ValidationScore(0.9, 0.2), ValidationScore(0.9, 0.3), "val_accuracy")
    assert is_better(ValidationScore(0.1, 9.0), None, "val_loss")
    assert not is_better(WORST, None, "val_accuracy")
    assert not is_better(ValidationScore(0.9, 0.2), ValidationScore(0.9, 0.2), "val_loss")


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"epochs": 10, "schedule": "constant"}, 6),
        ({"epochs": 10, "schedule": "plateau"}, 6),
        ({"epochs": 10}, 8),
        ({"epochs": 1}, 1),
        ({"epochs": 2}, 2),
    ],
)
def test_a_stage_ends_early_in_its_second_half_at_a_low_rate(options, first):
    stage = Stage(unfreeze=1, **options)
    (rule,) = (r for r in rules_of(stage, np.inf) if isinstance(r, EarlyStopping))
    assert rule.first == first and settled(stage, first)


def test_a_plateau_lowers_the_rate_again_and_again():
    history = rows([0.5, 0.6, 0.6, 0.6, 0.6, 0.7, 0.6, 0.6])
    factors = [a.rate_factor for a in actions_of(Plateau("val_accuracy", 2), history)]
    assert factors == [1, 1, 1, 0.1, 1, 1, 1, 0.1]


def test_a_loss_that_is_not_finite_ends_the_stage():
    row = rows([0.5])[0]
    assert Divergence().after_epoch({}, row)[1] == Action()
    for loss in (np.nan, np.inf):
        assert Divergence().after_epoch({}, row | {"loss": loss})[1].end == "stage"


def test_a_time_budget_ends_the_training():
    assert TimeBudget(np.inf).after_epoch({}, {})[1] == Action()
    action = TimeBudget(0.0).after_epoch({}, {})[1]
    assert action.end == "training" and "time budget" in action.reason


def test_rules_of_a_stage_have_states_of_their_own():
    stage = Stage(unfreeze=1, schedule="plateau", patience=4)
    rules = rules_of(stage, np.inf)
    states, actions = {}, []
    for row in rows([0.5, 0.4, 0.4]):
        states, actions = after_epoch(rules, states, row)
    assert len(states) == len(rules) == len(actions) == 4
    assert states["early_stopping"]["waited"] == 2 and states["plateau"]["waited"] == 0
