"""What ends a stage or lowers its rate, and what it remembers of the epochs before."""

import json

import numpy as np
import pytest

from tlearn.config import Stage
from tlearn.training.rules import (
    WORST,
    ValidationScore,
    after_epoch,
    earliest_end,
    is_better,
    settled,
)


def rows(accuracies, losses=None):
    losses = losses or [1.0] * len(accuracies)
    return [
        {"epoch": n, "loss": 1.0, "val_accuracy": a, "val_loss": loss}
        for n, (a, loss) in enumerate(zip(accuracies, losses, strict=True), start=1)
    ]


def decisions(stage, history):
    """Return factor and end after each epoch; states go through JSON, as in a checkpoint."""
    state, decided = {}, []
    for row in history:
        state, *decision = after_epoch(stage, json.loads(json.dumps(state)), row)
        decided.append(decision)
    return decided


def ended_after(history, **options):
    stage = Stage(unfreeze=1, schedule="constant", **options)
    ends = [end for _, end in decisions(stage, history)]
    return ends.index("stage") + 1 if "stage" in ends else None


def test_early_stopping_counts_from_the_best_epoch():
    falling = rows([0.5, 0.9, 0.8, 0.8, 0.8, 0.8])
    assert ended_after(falling, patience=2, epochs=1) == 4
    assert ended_after(falling, patience=2, epochs=10) == 6
    assert ended_after(falling, patience=5, epochs=1) is None


def test_the_monitor_decides_what_is_an_improvement():
    history = rows([0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6])
    assert ended_after(history, monitor="val_accuracy", patience=2, epochs=1) == 3
    assert ended_after(history, monitor="val_loss", patience=2, epochs=1) is None
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
    assert earliest_end(stage) == first and settled(stage, first)


def test_a_plateau_lowers_the_rate_again_and_again_and_early_stopping_still_counts():
    history = rows([0.5, 0.6, 0.6, 0.6, 0.6, 0.7, 0.6, 0.6, 0.6, 0.6])
    stage = Stage(unfreeze=1, schedule="plateau", patience=4, epochs=1)
    decided = decisions(stage, history)
    assert [factor for factor, _ in decided] == [1, 1, 1, 0.1, 1, 1, 1, 0.1, 1, 0.1]
    assert [end for _, end in decided] == [""] * 9 + ["stage"]


def test_a_loss_that_is_not_finite_ends_the_stage():
    (row,), stage = rows([0.5]), Stage(unfreeze=1)
    assert after_epoch(stage, {}, row)[1:] == (1.0, "")
    for loss in (np.nan, np.inf):
        assert after_epoch(stage, {}, row | {"loss": loss})[2] == "stage"


def test_a_time_budget_ends_the_training():
    (row,), stage = rows([0.5]), Stage(unfreeze=1)
    assert after_epoch(stage, {}, row, np.inf)[2] == ""
    assert after_epoch(stage, {}, row | {"loss": np.nan}, 0.0)[2] == "training"
