"""What a training is expected to cost before anything is measured."""

import json
import shutil
from dataclasses import replace

import pytest

from tlearn.backbones import load_registry
from tlearn.config import RunConfig, Stage
from tlearn.data.splits import images_per_class, load_dataset
from tlearn.errors import BackboneError
from tlearn.progress import Silent
from tlearn.training import expected_costs as module
from tlearn.training.expected_costs import Speeds, speeds_of

SPEEDS = Speeds(prefix=1e10, training=1e10)


def expected_costs(backbone, config, splits, speeds):
    preset = load_registry().preset(config.preset)
    return module.expected_costs(backbone, preset, config, splits, speeds)


@pytest.fixture
def splits(photos):
    splits = load_dataset(photos, RunConfig(), Silent())[1]
    return images_per_class(splits)


def test_costs_grow_with_width_size_and_preset(splits):
    registry = load_registry().backbones
    widths = [registry[f"mobilenet_v2{k}"] for k in ("_035", "_050", "_075", "", "_130", "_140")]
    lites = [registry[f"efficientnet_lite{k}"] for k in range(3)]
    for family in (widths, lites):
        costs = [expected_costs(one, RunConfig(), splits, SPEEDS) for one in family]
        for what in ("seconds", "least", "bytes"):
            values = [getattr(cost, what) for cost in costs]
            assert values == sorted(set(values)), what
    sizes = [expected_costs(widths[0], RunConfig(size=s), splits, SPEEDS) for s in (96, 160, 300)]
    assert sizes[0].seconds < sizes[1].seconds < sizes[2].seconds
    presets = [
        expected_costs(widths[0], RunConfig(preset=name), splits, SPEEDS)
        for name in ("quick", "auto", "balanced", "best")
    ]
    seconds = [cost.seconds for cost in presets]
    assert seconds == sorted(set(seconds))
    assert presets[1].least == pytest.approx(seconds[0]) and presets[0].least == seconds[0]


def test_costs_follow_what_is_trained(splits):
    toy = load_registry().get("toy")

    def seconds(**values):
        return expected_costs(toy, RunConfig(**values), splits, Speeds(1e6, 1e6)).seconds

    def stage(unfreeze):
        return {"stages": (Stage(unfreeze=unfreeze, epochs=5),)}

    depths = ["none", "block3_conv", "block2_conv", "all"]
    ordered = [seconds(**stage(unfreeze)) for unfreeze in depths]
    assert ordered == sorted(set(ordered)) and seconds(**stage(3)) == ordered[-1]
    assert seconds(views="fresh", **stage(1)) > seconds(views=2, **stage(1))
    assert seconds(time_budget=9, **stage("all")) == 9
    assert expected_costs(replace(toy, workload=None), RunConfig(), splits, SPEEDS) is None
    with pytest.raises(BackboneError, match="16 pixels or more"):
        expected_costs(toy, RunConfig(size=8), splits, SPEEDS)


def test_earlier_runs_say_how_fast_this_machine_is(toy_run, tmp_path, monkeypatch):
    toy, other = load_registry().get("toy"), load_registry().get("vgg19")
    monkeypatch.setattr(module, "ENOUGH", 1)
    assumed = speeds_of(toy, [tmp_path / "none"])
    assert not assumed.measured and assumed.overhead == module.OVERHEAD
    fast, slow = (tmp_path / name for name in ("fast", "slow"))
    for run, rate in ((fast, 1000.0), (slow, 10.0)):
        shutil.copytree(toy_run.run, run)
        metrics = json.loads((run / "metrics.json").read_text())
        metrics["images_per_second"]["activation_views"] = rate
        metrics["seconds"] |= {"total": 30.0, "stages": 20.0, "activations": 2.0}
        (run / "metrics.json").write_text(json.dumps(metrics))
    one, two = speeds_of(toy, [fast]), speeds_of(toy, [slow])
    assert one.measured and one.prefix == pytest.approx(100 * two.prefix)
    assert one.training == two.training != assumed.training and 1 <= one.overhead < 10
    assert two.prefix < speeds_of(toy, [fast, slow]).prefix < one.prefix
    assert speeds_of(other, [fast]).prefix == one.prefix  # it is the same machine
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "metrics.json").write_text("{")
    assert speeds_of(toy, [damaged]) == assumed


def test_the_speed_of_arithmetic_is_the_best_that_was_seen(cache, monkeypatch):
    seen = iter([5e9, 2e9, 7e9])
    monkeypatch.setattr(module, "arithmetic", lambda: next(seen))
    for best in (5e9, 5e9, 7e9):
        module.fastest_arithmetic.cache_clear()
        assert module.fastest_arithmetic() == best
    module.fastest_arithmetic.cache_clear()
