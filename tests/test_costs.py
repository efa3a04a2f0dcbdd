"""The plan: what a training will cost, and how it is fitted into time and disk."""

import json

import numpy as np
import pytest
from conftest import Heard

import tlearn
from tlearn.backbones import load_registry
from tlearn.config import Augmentation, RunConfig, Stage
from tlearn.data.scan import scan
from tlearn.data.views import Rendering
from tlearn.errors import ConfigError
from tlearn.features.activation_cache import Cache
from tlearn.features.activations import Activations
from tlearn.features.built_backbone import load_backbone
from tlearn.features.engines import choose
from tlearn.features.image_views import ImageViews
from tlearn.settings import make_config
from tlearn.training.costs import TRIAL, OtherLoad, measure_rate, multiply_adds, shorten_to_budget
from tlearn.training.probe import search_flops
from tlearn.training.stages import plan_stages

TOY = {"backbone": "toy", "weights": "none", "precision": "float32"}


@pytest.fixture(scope="module")
def built():
    return load_backbone(load_registry().get("toy"), None, "none", 0)


def train(photos, out, **options):
    heard = Heard()
    stages = options.pop("stages", [{"unfreeze": 1, "epochs": 4}])
    run = tlearn.finetune(photos, out, progress=heard, stages=stages, **TOY, **options)
    return run, heard.lines


def test_the_products_of_layers_are_their_weights_at_every_place(built):
    conv = built.base.get_layer("block3_conv")
    places = np.prod(conv.output.shape[1:3])
    assert multiply_adds(built, frozenset({"block3_conv"})) == np.prod(conv.kernel.shape) * places
    assert multiply_adds(built, frozenset()) == 0


def plan_of(lines):
    (line,) = (line for line in lines if line.startswith("plan: "))
    return line


def losses(run):
    events = (run.path / "events.jsonl").read_text().splitlines()
    return [row["loss"] for row in map(json.loads, events) if row.get("event") == "epoch"]


def test_activations_are_kept_or_streamed_as_planned(photos, tmp_path, cache, monkeypatch):
    monkeypatch.setattr("tlearn.training.costs.BENCHMARK_SECONDS", 0.01)

    def written():
        return sum(file.stat().st_size for file in (cache / "segments").iterdir())

    kept, lines = train(photos, tmp_path / "kept")
    assert plan_of(lines).startswith("plan: caching activations, about ")
    assert "streaming would take" in plan_of(lines)
    planned = kept.metrics["plan"]
    assert not planned["streaming"] and planned["seconds"] > 0 and planned["bytes"] == written() > 0
    assert kept.metrics["engine"] == {"engine": "openvino", "precision": "float32"}

    # A time budget that is enough changes nothing, and what is known is not written again.
    again, lines = train(photos, tmp_path / "again", time_budget="1h")
    assert again.metrics["plan"]["bytes"] == 0 and again.metrics["stages"][1]["epochs"] == 4
    assert not any("to fit into" in line for line in lines)

    with Cache(cache) as store:
        store.clear()
    streamed, lines = train(photos, tmp_path / "streamed", disk_budget="10K")
    assert plan_of(lines).startswith("plan: streaming, about ")
    assert "and the disk budget leaves 10 kB" in plan_of(lines)
    assert streamed.metrics["plan"]["streaming"] and written() <= 10_000
    for one, other in zip(losses(kept), losses(streamed), strict=True):  # of the very same views
        assert one == pytest.approx(other, rel=0.02)  # but for the rounding to float16


def test_no_more_views_are_kept_than_epochs_and_old_ones_make_room(photos, tmp_path):
    stages = [{"unfreeze": 1, "epochs": 3}]
    first, _ = train(photos, tmp_path / "first", size=40, views=8, stages=stages)
    events = map(json.loads, (first.path / "events.jsonl").read_text().splitlines())
    (computed,) = (e["computed"] for e in events if e.get("event") == "activations")
    assert computed == 28 * 3 + 8
    budget = first.metrics["plan"]["bytes"] + 1000
    _, lines = train(photos, tmp_path / "second", size=32, disk_budget=budget)
    assert any(line.startswith("evicted ") for line in lines)
    assert plan_of(lines).startswith("plan: caching")


@pytest.fixture
def plans(built):
    stages = (Stage(unfreeze=1, epochs=10), Stage(unfreeze=2, epochs=20))
    return plan_stages(stages, built)


def test_views_and_epochs_shrink_until_they_fit(plans):
    def cost(stages, views):
        return views + sum(p.stage.epochs for p in stages)

    for budget, epochs, views in [
        (1000, [10, 20], 8),
        (38, [10, 20], 8),
        (20, [5, 10], 4),
        (7, [4], 3),
        (6, [3], 2),
        (2, [], 2),
        (0.5, [], 1),
    ]:
        shorter, fewer = shorten_to_budget(budget, plans, 8, cost)
        assert [p.stage.epochs for p in shorter] == epochs, budget
        assert fewer == views, budget
        assert cost(shorter, fewer) <= budget or (not epochs and views == 1)


def test_a_time_budget_that_cannot_be_kept_is_said(photos, tmp_path):
    run, lines = train(photos, tmp_path / "run", time_budget=0.01)
    assert any("time budget too small: the shortest training takes about" in line for line in lines)
    assert [stage["name"] for stage in run.metrics["stages"]] == ["probe"]


def test_a_head_that_starts_at_random_is_trained_however_little_time_there_is(photos, tmp_path):
    head = {"hidden": [8]}
    stages = [{"unfreeze": "none", "epochs": 9}, {"unfreeze": 1, "epochs": 9}]
    run, _ = train(photos, tmp_path / "run", time_budget=0.01, head=head, stages=stages)
    assert [stage["epochs"] for stage in run.metrics["stages"]] == [0, 1]


def test_times_and_sizes():
    times = {"90": 90, "90s": 90, "5m": 300, "1h30m": 5400, "5m5": 305, "1.5h": 5400, 12.5: 12.5}
    for text, seconds in times.items():
        assert make_config(options={"time_budget": text}).time_budget == seconds, text
    sizes = {"500M": 5e8, "10G": 1e10, "10GB": 1e10, "1t": 1e12, "0": 0, 7: 7, "2.5k": 2500}
    for text, size in sizes.items():
        assert make_config(options={"disk_budget": text}).disk_budget == size, text
    none = {"time_budget": ("", "soon", "5 parsecs", "-3", "m", "1h-2m", "0")}
    none["disk_budget"] = ("much", "10X", "-1", "1.2.3G", "G")
    for key, texts in none.items():
        for text in texts:
            with pytest.raises(ConfigError, match=key):
                make_config(options={key: text})


def test_a_configuration_with_budgets_can_be_read_again():
    config = make_config(options={"time_budget": "5m", "disk_budget": "10G"})
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


def test_every_view_that_a_rate_is_measured_on_counts(photos, cache, built, monkeypatch):
    monkeypatch.setattr("tlearn.training.costs.LONG_ENOUGH", 0.0)  # the second trial is the last
    items = ImageViews.of(scan(photos).files, 2)
    with Cache(cache) as store:
        rendering, choice = Rendering(32, "squash", Augmentation()), choose("auto", "float32")
        activations = Activations(built, rendering, [], store, choice)
        rate, computed = measure_rate(activations, items, activations.outputs)
        missing = len(activations.missing(items, activations.outputs)["features"])
    assert computed == TRIAL + 4 * TRIAL and np.isfinite(rate)
    assert missing == len(items) - computed


def test_more_classes_cost_more_time(built, photos):
    few, many = (search_flops(3000, 2000, classes) for classes in (5, 100))
    assert many > 10 * few
    assert search_flops(3000, 4000, 5) > 1.5 * few  # fewer images than features: inner products


def test_load_counts_others_and_not_this_process(monkeypatch):
    times = iter([np.array([100.0, 50.0, 10.0]), np.array([200.0, 80.0, 60.0])])
    monkeypatch.setattr(OtherLoad, "_times", lambda self: next(times))
    assert OtherLoad().share() == pytest.approx(0.2)
    monkeypatch.undo()
    assert OtherLoad()._times().shape == (3,)
