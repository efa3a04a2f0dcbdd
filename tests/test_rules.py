"""What ends a stage or lowers its rate, and what it remembers of the epochs before."""

import json
import re

import numpy as np
import pytest

from tlearn.config import Stage
from tlearn.errors import PluginError
from tlearn.training.rules import (
    WORST,
    ValidationScore,
    decide,
    earliest_end,
    is_better,
    is_settled,
    rules_for,
)


def score(accuracy, loss, macro_f1=0.5):
    return ValidationScore({"val_loss": loss, "val_accuracy": accuracy, "val_macro_f1": macro_f1})


def rows(accuracies, losses=None):
    losses = losses or [1.0] * len(accuracies)
    return [
        {"epoch": n, "loss": 1.0, **score(a, loss, 1 - a).figures}
        for n, (a, loss) in enumerate(zip(accuracies, losses, strict=True), start=1)
    ]


def decisions(stage, history):
    """Return factor and end after each epoch; states go through JSON, as in a checkpoint."""
    states, decided = {}, []
    for row in history:
        decision = decide(rules_for(stage), json.loads(json.dumps(states)), row)
        states = decision.state
        decided.append((decision.factor, decision.ends))
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
    state, rules = None, rules_for(Stage(unfreeze=1, patience=2, epochs=10))
    for row in falling:
        state = decide(rules, state or {}, row)
        assert state.reason == ("no improvement in 4 epochs" if state.ends else "")
        state = state.state


def test_the_monitor_decides_what_is_an_improvement():
    history = rows([0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6])
    assert ended_after(history, monitor="val_accuracy", patience=2, epochs=1) == 3
    assert ended_after(history, monitor="val_loss", patience=2, epochs=1) is None
    assert ended_after(history, monitor="val_macro_f1", patience=2, epochs=1) is None
    one, other = score(0.9, 0.9, 0.7), score(0.8, 0.8, 0.8)
    assert is_better(one, other, "val_accuracy") and not is_better(one, other, "val_loss")
    assert is_better(other, one, "val_macro_f1") and not is_better(one, other, "val_macro_f1")


def test_of_equal_accuracies_the_smaller_loss_is_better_and_nothing_beats_by_not_being_finite():
    for monitor in ("val_accuracy", "val_macro_f1"):
        assert is_better(score(0.9, 0.2), score(0.9, 0.3), monitor)
    assert is_better(score(0.1, 9.0), None, "val_loss")
    assert not is_better(WORST, None, "val_accuracy")
    assert not is_better(score(0.9, 0.2), score(0.9, 0.2), "val_loss")


def test_a_score_has_every_figure():
    y, logits = np.array([0, 0, 0, 0, 1]), np.log([[0.9, 0.1, 1e-9]] * 4 + [[0.8, 0.2, 1e-9]])
    found = ValidationScore.of(y, logits)
    losses = [-np.log(0.9)] * 4 + [-np.log(0.2)]
    expected = {"log_loss": np.mean(losses), "accuracy": 0.8, "macro_f1": (8 / 9 + 0) / 2}
    assert found.by_key() == pytest.approx(expected)
    assert WORST.by_key() == {"log_loss": np.inf, "accuracy": 0, "macro_f1": 0}


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
    assert earliest_end(stage) == first and is_settled(stage, first)


def test_a_plateau_lowers_the_rate_again_and_again_and_early_stopping_still_counts():
    history = rows([0.5, 0.6, 0.6, 0.6, 0.6, 0.7, 0.6, 0.6, 0.6, 0.6])
    stage = Stage(unfreeze=1, schedule="plateau", patience=4, epochs=1)
    decided = decisions(stage, history)
    assert [factor for factor, _ in decided] == [1, 1, 1, 0.1, 1, 1, 1, 0.1, 1, 0.1]
    assert [end for _, end in decided] == [""] * 9 + ["stage"]


def test_a_loss_that_is_not_finite_ends_the_stage():
    (row,), rules = rows([0.5]), rules_for(Stage(unfreeze=1))
    assert decide(rules, {}, row).ends == ""
    for loss in (np.nan, np.inf):
        assert decide(rules, {}, row | {"loss": loss}).ends == "stage"


def test_a_time_budget_ends_the_training():
    (row,), rules = rows([0.5]), rules_for(Stage(unfreeze=1), deadline=0.0)
    decision = decide(rules, {}, row | {"loss": np.nan})
    assert (decision.ends, decision.reason) == ("training", "time budget used up")


def test_a_plugins_rule_decides_beside_ours(plugin_file):
    plugin_file(
        "halving",
        """
from tlearn.backbones import Decision, Rule, hookimpl

def halve(state, row):
    epochs = [*(state or ()), row.pop("epoch")]
    return Decision(tuple(epochs), 0.5, ends="stage" if epochs == [1, 2] else "", reason="so")

@hookimpl
def tlearn_rules(stage):
    yield Rule("halve", halve)
""",
    )
    stage, history = Stage(unfreeze=1, schedule="constant"), rows([0.5, 0.6])
    assert decisions(stage, history) == [(0.5, ""), (0.5, "stage")]
    assert [row["epoch"] for row in history] == [1, 2]  # a rule cannot change a row
    rules = rules_for(stage)
    first = decide(rules, {"of a plugin that is gone": 1}, history[0])
    assert decide(rules, first.state, history[1]).reason == "so"
    for schedule in ("cosine", "plateau"):
        with pytest.raises(PluginError, match=f"so does the schedule '{schedule}' of the stage"):
            decisions(Stage(unfreeze=1, schedule=schedule), history)


def test_a_rule_that_fails_names_its_plugin(plugin_file, monkeypatch):
    plugin_file(
        "slip",
        """
import os
from tlearn.backbones import Decision, Rule, hookimpl

@hookimpl
def tlearn_rules(stage):
    return eval(os.environ["RULES"])
""",
    )
    for answer, words in {
        "1 / 0": r"(ZeroDivisionError: division by zero",
        "0.5": r"(TypeError: it must return a Decision, not 0.5",
        "Decision({1, 2})": r"(TypeError: Object of type set is not JSON",
        "Decision(ends='all')": "(ValueError: ends must be one of ('', 'stage', 'training')",
        "Decision(factor=0)": "(ValueError: factor must be a positive number. Received: 0",
    }.items():
        monkeypatch.setenv("RULES", f"Rule('bad', lambda state, row: {answer})")
        with pytest.raises(PluginError, match=re.escape(f"failed in its rule 'bad' {words}")) as e:
            decisions(Stage(unfreeze=1), rows([0.5]))
        assert "slip.py (slip)" in str(e.value)
    for answer, words in {
        "7": "it must return rules, not 7",
        "[Rule('bad', print)] * 2": "it must not return two rules 'bad'",
    }.items():
        monkeypatch.setenv("RULES", answer)
        with pytest.raises(PluginError, match=rf"failed in tlearn_rules \({words}"):
            rules_for(Stage(unfreeze=1))
