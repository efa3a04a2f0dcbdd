"""A run that goes on from another: more photos, other classes, the same validation images."""

import csv
import json
import shutil

import keras
import numpy as np
import pyarrow as pa
import pytest
from conftest import COLOURS, Heard, draw_photos, once
from PIL import Image

import tlearn
from tlearn.cli import main
from tlearn.config import RunConfig
from tlearn.data.earlier_splits import EarlierSplits
from tlearn.data.scan import scan
from tlearn.data.splits import draw_splits
from tlearn.errors import BackboneError, ConfigError, RunError
from tlearn.runs.continued_run import continued
from tlearn.settings import make_config
from tlearn.training.carried_head import CarriedHead
from tlearn.training.probe import LinearHead, Start, fit_probe
from tlearn.training.regression import log_loss, probabilities

TOY = {"backbone": "toy", "weights": "none", "quiet": True, "seed": 5}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A run of three classes, and its photos."""

    def make(place):
        photos = draw_photos(place / "photos")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TLEARN_CACHE", str(place / "cache"))
            tlearn.finetune(photos, place / "run", stages="1:2@1e-3", **TOY)

    place = once(tmp_path_factory, "run to continue", make)
    return tlearn.Run(place / "run"), place / "photos"


def grown(photos, place):
    """Return a folder with more photos, without blue, with a class that is new."""
    folder = shutil.copytree(photos, place / "more")
    shutil.rmtree(folder / "blue")
    extra = draw_photos(place / "extra", per_class=8, seed=1)
    for label in ("green", "red"):
        for file in (extra / label).iterdir():
            shutil.copy(file, folder / label / f"new_{file.name}")
    shutil.copytree(extra / "blue", folder / "violet")
    return folder


def splits_of(run):
    with (run.path / "splits.csv").open(encoding="utf-8", newline="") as file:
        return {row["content"]: row["split"] for row in csv.DictReader(file)}


def test_a_run_is_continued_with_more_photos_and_other_classes(first, tmp_path):
    before, photos = first
    data, heard = grown(photos, tmp_path), Heard()
    after = tlearn.finetune(data, tmp_path / "run", from_run=before.path, progress=heard)
    assert after.labels == ("green", "red", "violet")
    assert "classes: 1 added (violet), 1 removed (blue)" in heard.lines
    assert any(line.startswith("images of the run that is continued") for line in heard.lines)
    (gain,) = [line for line in heard.lines if "McNemar" in line]
    old, new = splits_of(before), splits_of(after)
    common = old.keys() & new.keys()
    assert common and all(old[content] == new[content] for content in common)
    assert {new[content] for content in new.keys() - common} == {"train", "validation"}
    held = sum(old[content] == "validation" for content in common)
    assert gain.startswith(f"on the {held} images that ")
    config = after.record["config"]
    assert (config["seed"], config["backbone"]) == (5, "toy")
    assert [stage["epochs"] for stage in config["stages"]] == [2]
    assert after.metrics["validation"]["accuracy"] >= 0.7
    # Photos that only the first run was trained on are never measured.
    counted = after.evaluate(photos)
    assert counted.metrics["n"] == held
    # And so on: the third run knows of the first.
    shutil.rmtree(tmp_path / "extra")
    blue = draw_photos(tmp_path / "blue_again", classes=("blue", "green"))
    third = tlearn.finetune(blue, tmp_path / "third", from_run=after.path, quiet=True)
    again = splits_of(third)
    assert all(old[content] == again[content] for content in old.keys() & again.keys())


def test_the_network_goes_on_where_it_was(first, tmp_path):
    """What the head starts from equals the saved model without the row of a class."""
    before, _ = first
    head = CarriedHead.of(before)
    linear = head.linear(("green", "new", "red"))
    model = keras.models.load_model(before.path / "model.keras", compile=False)
    standardise = next(x for x in model._flatten_layers() if x.name == "standardise")
    logits = next(x for x in model._flatten_layers() if x.name == "logits")
    width = standardise.moving_mean.shape[0]
    x = np.random.default_rng(0).normal(size=(6, width))
    wanted = np.asarray(logits(standardise(x.astype(np.float32))))
    np.testing.assert_allclose(linear.logits(x)[:, [0, 2]], wanted[:, [1, 2]], rtol=1e-3, atol=1e-4)
    assert not linear.logits(x)[:, 1].any()


def test_hidden_layers_go_on_and_rows_by_the_names_of_classes(first, tmp_path):
    _, photos = first
    head = {"hidden": (6,)}
    options = {**TOY, "stages": "none:2", "head": head}
    before = tlearn.finetune(photos, tmp_path / "before", **options)
    data = grown(photos, tmp_path)
    after = tlearn.finetune(data, tmp_path / "after", from_run=before.path, quiet=True)
    stages = after.metrics["stages"]
    assert stages[0]["share"] + stages[1]["share"] == pytest.approx(1, abs=0.01)
    carried = CarriedHead.of(before)
    from tlearn.backbones import load_registry
    from tlearn.config import Head
    from tlearn.features.built_backbone import load_backbone
    from tlearn.training.network import Network

    built = load_backbone(load_registry().get("toy"), None, str(before.path), 0)
    width = len(carried.layers["standardise"][0])
    taps = built.taps if width == sum(tap.width for tap in built.taps) else built.taps[-1:]
    network = Network(built, taps, 3, Head(**head), 1)
    fresh = network.logits.get_weights()
    carried.into(network, ("green", "red", "violet"))
    for layer in network.head:
        if layer.name in ("hidden_1", "standardise"):
            for mine, theirs in zip(layer.get_weights(), carried.layers[layer.name], strict=True):
                np.testing.assert_array_equal(mine, theirs)
    kernel, old = network.logits.get_weights()[0], carried.layers["logits"][0]
    np.testing.assert_array_equal(kernel[:, :2], old[:, 1:])
    np.testing.assert_array_equal(kernel[:, 2], fresh[0][:, 2])


def test_an_interrupted_one_is_resumed_to_the_same_model(first, tmp_path, monkeypatch):
    before, photos = first
    data = grown(photos, tmp_path)
    options = {"from_run": before.path, "stages": "none:2,1:2@1e-3", "quiet": True}
    whole = tlearn.finetune(data, tmp_path / "whole", **options)

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    tlearn.finetune(data, tmp_path / "parts", callbacks=[Stop()], **options)

    def gone(run):
        raise RunError("gone")

    # Where its images were is known to the run itself.
    monkeypatch.setattr(tlearn.Run, "split_rows", gone)
    parts = tlearn.resume(tmp_path / "parts", quiet=True)
    for one, other in zip(whole.model.weights, parts.model.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_what_another_network_would_be_is_refused(first, tmp_path):
    before, photos = first
    refused = {
        "backbone": {"backbone": "mobilenet_v2"},
        "weights": {"weights": "none"},
        "head.hidden": {"head": {"hidden": (4,)}},
    }
    for key, options in refused.items():
        with pytest.raises(ConfigError, match=f"takes no other {key}; leave {key} out") as error:
            tlearn.finetune(photos, tmp_path / "run", from_run=before.path, **options)
        assert error.value.key == key
    with pytest.raises(RunError, match="there is no run directory"):
        tlearn.finetune(photos, tmp_path / "run", from_run=tmp_path / "none")
    with pytest.raises(RunError, match=r"holds no run\.yaml"):
        tlearn.finetune(photos, tmp_path / "run", from_run=photos)
    assert not (tmp_path / "run").exists()
    moved = shutil.copytree(before.path, tmp_path / "moved")
    assert (
        main(
            [
                "finetune",
                str(photos),
                "--from",
                str(moved),
                "--out",
                str(tmp_path / "late"),
                "--stages",
                "none",
                "--quiet",
            ]
        )
        == 0
    )
    (tmp_path / "late" / "metrics.json").unlink()  # as if it had ended before that
    (tmp_path / "late" / "events.jsonl").write_text("")
    shutil.rmtree(moved)
    with pytest.raises(BackboneError, match="there is no such file"):
        tlearn.resume(tmp_path / "late", quiet=True)


def test_options_win_over_those_of_the_run(first):
    before, _ = first
    config = continued(make_config(options={"from_run": str(before.path)}))
    assert continued(config) == config
    assert [stage.monitor for stage in config.stages] == ["val_accuracy"]
    chosen = {"from_run": str(before.path), "preset": "quick", "head": {"dropout": 0.5}}
    other = continued(make_config(options=chosen))
    assert other.stages is None and other.views is None and other.head.dropout == 0.5
    metric = continued(make_config(options={"from_run": str(before.path), "metric": "macro_f1"}))
    assert "monitor" not in metric.stages[0].model_fields_set
    assert continued(RunConfig()) == RunConfig()


def test_images_of_before_stay_in_their_splits(tmp_path):
    """With folders for splits, with groups, and where a group has changed."""
    photos = draw_photos(tmp_path / "photos", per_class=10)
    manifest = scan(photos)
    old, _ = draw_splits(manifest, 0.3, 0.2, 0)
    rows = [
        {"content": f.content, "group": "", "split": split}
        for split, files in old.items()
        for f in files
    ]
    texts = {name: pa.array([row[name] for row in rows], pa.large_string()) for name in rows[0]}
    earlier = EarlierSplits.of_rows(pa.table(texts))
    for seed in range(5):  # however the draw would go
        splits, _ = draw_splits(manifest, 0.5, 0.0, seed, earlier)
        assert splits == old
    # Folders: what was trained on does not measure, what measured is not trained on.
    given = tmp_path / "given"
    for split, source in (("train", old.validation), ("validation", old.train)):
        for file in source:
            target = given / split / file.label / file.path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.path, target)
    for label, colour in COLOURS.items():
        for split, shade in (("train", 0), ("validation", 9)):
            image = Image.new("RGB", (30, 30), tuple(c - shade for c in colour))
            image.save(given / split / label / "new.png")
    splits, problems = draw_splits(scan(given), 0.2, 0.0, 0, earlier)
    assert {f.path.name for f in splits.train} == {"new.png"}
    assert len(splits.validation) == len(old.validation) + 3
    reasons = {p.reason for p in problems if p.kind == "trained on"}
    assert reasons == {"a train image of the run that is continued; left out of validation"}
    assert sum(p.kind == "trained on" for p in problems) == len(old.train)
    # Groups: new photos of a patient go where the patient's others are.
    train = next(f for f in old.train if f.label == "red")
    table = tmp_path / "table.csv"
    lines = [
        f"{f.path},{f.label},{'p' if f in (train, old.validation[0]) else f.path.stem}"
        for _, files in old.items()
        for f in files
    ]
    lines += [f"{given / 'train' / 'red' / 'new.png'},red,p"]
    table.write_text("path,label,group\n" + "\n".join(lines))
    splits, _ = draw_splits(scan(table), 0.9, 0.0, 0, earlier)
    assert "new.png" in {f.path.name for f in splits.train}


def test_a_probe_that_starts_from_a_head_needs_fewer_images():
    """Where the truth is known: a start from many images helps few, and one of none does no harm.

    New classes are learnt, too, and the images that the head was trained on count nowhere.
    """
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 30)) * 0.55
    wins, losses = 0, []
    for _ in range(10):
        many_y, few_y, test_y = rng.integers(0, 3, 300), np.arange(24) % 4, np.arange(400) % 4
        many, few, test = (
            rng.normal(centres[y]).astype(np.float32) for y in (many_y, few_y, test_y)
        )
        old = fit_probe(many[:, None], many_y, list(map(str, range(300))), [1.0] * 3, 0)
        wider = LinearHead(old.mean, old.scale, np.c_[old.kernel, np.zeros(30)], np.r_[old.bias, 0])
        rows = few[:, None], few_y, list(map(str, range(24))), [1.0] * 4, 0
        plain = fit_probe(*rows)
        started = fit_probe(*rows, start=Start(wider, np.ones(24, bool)))
        loss = [log_loss(test_y, probabilities(p.logits(test))) for p in (plain, started)]
        losses.append(loss)
        wins += loss[1] < loss[0]
        part = fit_probe(*rows, start=Start(wider, few_y == 3)).cross_validation
        assert set(part.positions) == set(np.flatnonzero(few_y == 3))
    assert wins >= 8 and np.mean(losses, axis=0)[1] < 0.9 * np.mean(losses, axis=0)[0]
    nothing = LinearHead(np.zeros(30), np.ones(30), np.zeros((30, 4)), np.zeros(4))
    same = fit_probe(*rows, start=Start(nothing, np.ones(24, bool)))
    np.testing.assert_allclose(same.logits(test), plain.logits(test), atol=1e-3)


def test_nothing_new_changes_nothing_much(first, tmp_path):
    before, photos = first
    after = tlearn.finetune(
        photos, tmp_path / "run", from_run=before.path, stages="none", quiet=True
    )
    old, new = (json.loads((r.path / "metrics.json").read_text()) for r in (before, after))
    assert abs(old["validation"]["log_loss"] - new["validation"]["log_loss"]) < 0.15
    assert splits_of(before) == splits_of(after)
