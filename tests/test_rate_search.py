"""The learning-rate finder: its rule where the answer is known, and the command."""

import json
import math

import numpy as np
import pytest

from tlearn.cli import main
from tlearn.errors import ConfigError
from tlearn.experiments import rate_search
from tlearn.experiments.rate_search import diverged, find_rates, result_of, smooth

TOY = ["--backbone", "toy", "--weights", "none"]


def bowl(rates, best):
    """Return losses that are least at a rate."""
    return [1.0 + math.log10(rate / best) ** 2 for rate in rates]


def test_the_suggestion_is_half_of_the_best_rate_a_few_steps_late():
    rates = np.geomspace(1e-6, 1, 100).tolist()
    found = result_of("head", rates, bowl(rates, 1e-3))
    late = (rates[1] / rates[0]) ** 10
    assert 0.5e-3 < found.suggestion < 0.5e-3 * late
    noisy = np.array(bowl(rates, 1e-3)) * np.random.default_rng(0).uniform(0.9, 1.1, 100)
    again = result_of("head", rates, [0.0, *noisy[1:]])  # a lucky first batch
    assert found.suggestion / 3 < again.suggestion < found.suggestion * 3
    assert result_of("head", rates, bowl(rates, 10)).is_bound and not found.is_bound


def test_means_are_those_of_the_last_losses_without_bias():
    assert smooth([2.0] * 50) == pytest.approx([2.0] * 50)
    assert smooth([0.0] * 50 + [1.0] * 50)[-1] == pytest.approx(1, abs=0.01)


def test_a_search_ends_when_the_loss_explodes():
    assert not diverged([1.0] * 20)
    assert diverged([1.0] * 20 + [50.0]) and diverged([1.0, math.nan])
    with pytest.raises(ConfigError, match="the loss of head is not finite at any rate"):
        result_of("head", [0.1] * 20, [math.nan] * 20)


def test_the_command_searches_the_head_and_each_stage(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TLEARN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert main(["lr-find", str(photos), *TOY, "--stages", "1:2,1:2,2:2", "--quiet"]) == 0
    out = capsys.readouterr().out
    folder = tmp_path / "rates" / "photos"
    assert sorted(path.name for path in folder.iterdir()) == [
        "rates.json",
        "rates.png",
        "rates.svg",
    ]
    searches = json.loads((folder / "rates.json").read_text())["searches"]
    assert [search["part"] for search in searches] == ["head", "top 1 block", "top 2 blocks"]
    for search in searches:
        assert f"{search['part']}: learning_rate {search['suggestion']:.1e}" in out
        assert len(search["rates"]) == len(search["losses"]) == len(search["means"]) > 10
        assert 1e-6 <= search["suggestion"] <= 1
    options = {"backbone": "toy", "weights": "none", "quiet": True}
    again, _ = find_rates(photos, tmp_path / "again", **options)
    assert [search.part for search in again] == ["head", "from block3_conv"]
    assert main(["lr-find", str(photos), *TOY, "--out", str(folder)]) == 2
    assert "exists" in capsys.readouterr().err


def test_the_images_that_are_searched_on_are_not_those_of_the_probe(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("TLEARN_CACHE", str(tmp_path / "cache"))
    halves, real = [], rate_search._halves
    monkeypatch.setattr(rate_search, "_halves", lambda s: halves.extend(real(s)) or tuple(halves))
    find_rates(photos, tmp_path / "rates", quiet=True, backbone="toy", weights="none", stages="1:1")
    first, second = ({file.content for file in half.splits.train} for half in halves)
    assert not first & second and len(first) + len(second) == 28
