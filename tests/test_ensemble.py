"""An ensemble of runs: the average of their models, measured on what none was trained on."""

import json
import re
import shutil
import zipfile

import keras
import numpy as np
import pytest
import yaml
from conftest import COLOURS, draw_photos, once, picture
from pages import page, t, words

import tlearn
from tlearn.backbones import load_registry
from tlearn.cli import main
from tlearn.data.images import load_image
from tlearn.errors import BackboneError, ConfigError, DataError
from tlearn.experiments.joint_model import average, join, scale_down
from tlearn.experiments.shared_images import shared_splits
from tlearn.features.built_backbone import load_backbone
from tlearn.features.keras_build import leaves
from tlearn.features.precision import computing_in
from tlearn.runs.classifier import Classifier, save
from tlearn.runs.run_comparison import compare_runs

OPTIONS = {"backbone": "toy", "weights": "none", "quiet": True}
STAGE = {"unfreeze": 1, "epochs": 2, "learning_rate": 1e-3}


def make_members(folder):
    """Train runs that differ, on photos of which some look like those of another class."""
    photos = draw_photos(folder / "photos", per_class=20)
    for k, label in enumerate(COLOURS):
        for i in range(8):
            other = list(COLOURS.values())[(k + 1) % 3]
            picture(other, np.random.default_rng((9, k, i))).save(photos / label / f"odd{i}.png")
    given = {
        "one": {"stages": [STAGE]},
        "wide": {"stages": [STAGE], "head": {"hidden": [8]}},
        "large": {"stages": [], "size": 48},
        "tested": {"stages": [], "test": 0.3},
        "tested_too": {"stages": [STAGE], "test": 0.3},
        "other_seed": {"stages": [], "seed": 1},
        "padded": {"stages": [], "resize": "pad"},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLEARN_CACHE", str(folder / "cache"))
        for name, options in given.items():
            tlearn.finetune(photos, folder / name, **{**OPTIONS, **options})


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """A folder with photos, and runs on them; nothing may be written into it."""
    return once(tmp_path_factory, "members", make_members)


@pytest.fixture(scope="module")
def joined(members, tmp_path_factory):
    """Ensembles of two of the runs, by their rule of shares; nothing may be written into them."""
    paths = [members / name for name in ("one", "wide")]

    def make(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TLEARN_CACHE", str(members / "cache"))
            for rule in ("equal", "fitted"):
                tlearn.ensemble(paths, folder / rule, shares=rule, quiet=True)

    folder = once(tmp_path_factory, "joined", make)
    return lambda rule: tlearn.Run(folder / rule)


def pixels_of(photos, size):
    paths = sorted(photos.rglob("*.png"))[::7]
    return np.stack([load_image(path, size, "squash") for path in paths]).astype(np.float32)


def plain(models, pixels):
    """The same in plain Keras; a smaller model sees the pixels scaled down."""
    x = keras.Input(pixels.shape[1:])
    each = []
    for model in models:
        size, model.name = model.input.shape[1], f"model_{len(each)}"  # Keras wants them to differ
        own = x if size == x.shape[1] else keras.layers.Resizing(size, size, antialias=True)(x)
        each.append(model(own))
    return keras.Model(x, keras.layers.average(each)).predict(pixels, verbose=0)


@pytest.mark.parametrize("names", [("one", "wide"), ("one", "large", "wide")])
def test_equal_shares_are_the_average_of_keras(members, joined, tmp_path, names):
    paths = [members / name for name in names]
    if len(paths) == 2:
        run = joined("equal")
    else:
        run = tlearn.ensemble(paths, tmp_path / "run", shares="equal", quiet=True)
    size = 48 if "large" in names else 32
    assert run.classifier.size == size
    pixels = pixels_of(members / "photos", size)
    expected = plain([tlearn.Run(path).model for path in paths], pixels)
    np.testing.assert_allclose(run.model.predict(pixels, verbose=0), expected, atol=1e-5)
    assert [stage["share"] for stage in run.metrics["stages"]] == [round(1 / len(names), 3)] * len(
        names
    )


def test_fitted_shares_weigh_the_average(members, joined, tmp_path):
    paths = [members / name for name in ("one", "wide")]
    run = joined("fitted")
    shares = [member["share"] for member in run.record["members"]]
    assert sum(shares) == pytest.approx(1) and run.record["shares"] == "fitted"
    pixels = pixels_of(members / "photos", 32)
    each = [tlearn.Run(path).model.predict(pixels, verbose=0) for path in paths]
    mean, p = np.average(each, axis=0, weights=shares), run.model.predict(pixels, verbose=0)
    np.testing.assert_allclose(p, mean, atol=1e-5)
    assert tlearn.export(run, "h5", tmp_path / "h5").is_dir()  # of layers alone


def test_a_run_without_a_share_is_not_in_the_model(members):
    models = [tlearn.Run(members / name).model for name in ("one", "wide")]
    pixels, outputs = join(models, [range(3)] * 2)
    model = average(pixels, outputs, [1.0, 0.0])
    assert model.count_params() == models[0].count_params()
    x = pixels_of(members / "photos", 32)
    expected = models[0].predict(x, verbose=0)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-6)


def test_scaling_down_is_that_of_keras():
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 50, 50, 3)).astype(np.float32)
    for size in (49, 30, 16):
        x = keras.Input((50, 50, 3))
        found = keras.Model(x, scale_down(x, size)).predict(pixels, verbose=0)
        expected = keras.layers.Resizing(size, size, antialias=True)(pixels)
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_its_figures_are_those_of_its_saved_model_on_what_no_run_was_trained_on(members, joined):
    run = joined("fitted")
    evaluation = run.evaluate(members / "photos")
    figures = run.metrics["validation"]
    assert evaluation.metrics == figures
    splits = tlearn.Run(members / "one").splits()
    assert run.splits() == splits and run.metrics["left_out"] == 0
    assert evaluation.trained_on == list(splits.values()).count("train")
    assert len(run.held_out_predictions()) == figures["n"] == evaluation.selected_on
    gain = run.metrics["gain"]
    assert gain["split"] == "validation" and gain["images"] == figures["n"]
    assert gain["over"] in ("one", "wide")


def test_the_gain_is_measured_on_test_images_where_there_are_any(members, tmp_path):
    paths = [members / "tested", members / "tested_too"]
    run = tlearn.ensemble(paths, tmp_path / "run", quiet=True)
    gain = run.metrics["gain"]
    best = tlearn.Run(members / gain["over"])
    assert gain["split"] == "test" and gain["images"] == run.metrics["test"]["n"] > 10
    only_test = [p for p in best.held_out_predictions() if p.split == "test"]
    own = [p for p in run.held_out_predictions() if p.split == "test"]
    assert gain["right"] == [sum(p.correct for p in own), sum(p.correct for p in only_test)]
    accuracies = [tlearn.Run(path).metrics["validation"]["accuracy"] for path in paths]
    assert best.metrics["validation"]["accuracy"] == max(accuracies)


def test_images_that_one_run_was_trained_on_do_not_count(members, tmp_path):
    paths = [members / "one", members / "other_seed"]
    one, other = (tlearn.Run(path).splits() for path in paths)
    shared = {c for c in one if one[c] == other[c] == "validation"}
    assert shared
    run = tlearn.ensemble(paths, tmp_path / "run", quiet=True)
    assert run.metrics["validation"]["n"] == len(shared)
    held_out = {c for c in one if "validation" in (one[c], other[c])}
    assert run.metrics["left_out"] == len(held_out - shared) > 0
    splits = run.splits()
    assert {c for c in splits if splits[c] == "validation"} == shared
    assert {c for c in splits if splits[c] == "train"} == {*one} - shared
    tests = tlearn.ensemble([members / "one", members / "tested"], tmp_path / "tests", quiet=True)
    assert "test" not in tests.metrics  # to one of them they were no test images


def test_what_a_run_was_trained_on_before_does_not_count_nor_what_is_of_one_group_with_it(
    members, tmp_path
):
    paths = [shutil.copytree(members / name, tmp_path / name) for name in ("one", "wide")]
    for path in paths:
        table = (path / "splits.csv").read_text()
        grouped = re.sub(r'("validation","\w+"),""', r'\1,"g"', table, count=1)
        assert grouped != table
        (path / "splits.csv").write_text(grouped)
    assert shared_splits([tlearn.Run(path) for path in paths])[1] == 0
    (paths[1] / "earlier_splits.csv").write_text(
        f'"content","group","split"\n"{"0a" * 16}","g","train"\n'
    )
    run = tlearn.ensemble(paths, tmp_path / "run", quiet=True)
    assert run.metrics["left_out"] == 1 and run.splits()["0a" * 16] == "train"
    assert run.metrics["validation"]["n"] == tlearn.Run(paths[0]).metrics["validation"]["n"] - 1


def permuted(run, place, order):
    """Copy a run, with the outputs of its model in another order."""
    shutil.copytree(run, place)
    old = Classifier.load(run / "model.keras")
    inner = old.model
    inner.name = "inner"
    x = keras.Input(inner.input.shape[1:])
    model = keras.Model(x, keras.ops.take(inner(x), order, axis=-1))
    labels = [old.labels[k] for k in order]
    save(model, place / "model.keras", labels, old.size, old.resize, old.backbone)
    return place


def test_classes_may_be_in_another_order(members, joined, tmp_path):
    turned = permuted(members / "wide", tmp_path / "turned", [2, 0, 1])
    paths = [members / "one", turned]
    runs = [joined("equal"), tlearn.ensemble(paths, tmp_path / "run", shares="equal", quiet=True)]
    assert tlearn.Run(turned).labels != runs[0].labels == runs[1].labels
    pixels = pixels_of(members / "photos", 32)
    each = [run.model.predict(pixels, verbose=0) for run in runs]
    np.testing.assert_allclose(*each, atol=1e-6)


def test_the_weights_of_an_ensemble_are_those_of_no_one_network(members, joined, tmp_path):
    both = joined("fitted")
    for skip in (False, True):
        with pytest.raises(BackboneError, match="each have a layer 'block"):
            load_backbone(load_registry().get("toy"), 32, str(both.path), 0, skip)
    with pytest.raises(ConfigError, match=r"is an ensemble.*continue one of its runs"):
        tlearn.finetune(members / "photos", tmp_path / "more", from_run=str(both.path), quiet=True)


def test_heads_of_members_stay_in_float32(members):
    models = [tlearn.Run(members / name).model for name in ("one", "large")]
    pixels, outputs = join(models, [range(3)] * 2)
    model = average(pixels, outputs, [0.5, 0.5])
    with computing_in("bfloat16", model):
        halves = {x.name for x in leaves(model) if x.dtype_policy.name == "mixed_bfloat16"}
    assert halves == {"block1_conv", "block2_conv", "block3_conv", "member_1_block3_conv"}


def test_an_ensemble_may_be_a_member(members, joined, tmp_path):
    inner = joined("equal")
    run = tlearn.ensemble(
        [inner.path, members / "large"], tmp_path / "outer", shares="equal", quiet=True
    )
    pixels = pixels_of(members / "photos", 48)
    models = [tlearn.Run(path).model for path in (inner.path, members / "large")]
    expected = plain(models, pixels)
    np.testing.assert_allclose(run.model.predict(pixels, verbose=0), expected, atol=1e-5)


def test_it_is_a_run_like_any_other(members, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TLEARN_CACHE", str(tmp_path / "cache"))
    run = tmp_path / "both"
    assert main(["ensemble", *map(str, (members / "one", members / "large")), f"--out={run}"]) == 0
    out = capsys.readouterr().out
    gain = r"^gain over the best run alone: [+-]\d+\.\d points \(95% interval "
    assert re.search(gain, out, re.M)
    assert "cross-fitted" in out and "share of the model" in out
    photo = str(next((members / "photos" / "red").iterdir()))
    for command in (
        ["predict", str(run), photo],
        ["evaluate", str(run), str(members / "photos")],
        ["show", str(run)],
        ["report", str(run)],
        ["export", str(run), "savedmodel"],
        ["export", str(run), "openvino"],
    ):
        assert main(command) == 0, command
    out = capsys.readouterr().out
    assert re.search(rf"^  {re.escape(str(members / 'large'))}: toy at 48 pixels$", out, re.M)
    page = (run / "report.html").read_text()
    assert "large" in page and 'class="failed"' not in page and "averages 2 finished runs" in page
    assert (run / "figures/accuracy.svg").is_file() and (run / "figures/confusion.svg").is_file()
    comparison = compare_runs(tlearn.Run(run), tlearn.Run(members / "one"))
    assert comparison.p_value is not None and set(comparison.settings) == {"preset", "size"}
    assert json.loads((run / "labels.json").read_text()) == sorted(COLOURS)
    assert not tlearn.Run(run).problems() and len(tlearn.Run(run).history) == 0
    assert main(["finetune", "--resume", str(run)]) == 2
    assert "is finished" in capsys.readouterr().err


def test_the_page_shows_it(here, members):
    for name in ("one", "large"):
        shutil.copytree(members / name, here.runs / name)
    tlearn.ensemble([here.runs / "one", here.runs / "large"], here.runs / "both", quiet=True)
    app = page("results", {"run": "both", "view": "curves"})
    assert t("train.name_ensemble") in words(app) and t("results.cross_fitted") in words(app)
    assert list(app.dataframe[0].value[t("results.run")]) == ["one", "large"]
    assert t("results.averaged_runs") in words(app)
    (table,) = page("results", {"compare": ["both", "large"]}).table
    page("predict", **{"chosen.run": "both"})
    assert t("results.preset") in list(table.value[t("results.setting")])


@pytest.fixture
def refused(members, tmp_path, capsys):
    """Ask for an ensemble that cannot be; return the words of the error."""

    def refused(*runs):
        before = sorted(tmp_path.iterdir())
        assert main(["ensemble", *map(str, runs), "--out", str(tmp_path / "out"), "--quiet"]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1, err
        assert sorted(tmp_path.iterdir()) == before
        return err

    return refused


def test_runs_that_do_not_fit_together_are_refused(members, tmp_path, refused, capsys):
    one, wide = members / "one", members / "wide"
    assert "takes two or more runs, not 1" in refused(one)
    assert "have the same model; name each run once" in refused(one, wide, f"{one}/../one")
    padded = refused(one, members / "padded")
    assert "resize is squash and pad" in padded and str(members / "padded") in padded
    assert "there is no run directory" in refused(one, tmp_path / "nothing")
    assert main(["ensemble", str(one), str(wide), "--out", str(members / "photos")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["ensemble", str(one), str(wide), "--out", "/proc/nowhere/run"]) == 2
    assert "cannot be made" in capsys.readouterr().err
    with pytest.raises(tlearn.ConfigError, match="fitted or equal"):
        tlearn.ensemble([one, wide], tmp_path / "out", shares="half")


def test_runs_that_cannot_be_used_are_refused(members, tmp_path, refused):
    one = members / "one"
    for name, reason in (
        ("model.keras", "is damaged: it holds no model.keras"),
        ("metrics.json", "is not finished"),
        ("splits.csv", "splits.csv of the run"),
        ("predictions.csv", "predictions.csv of the run"),
    ):
        copy = shutil.copytree(members / "wide", tmp_path / f"without {name}")
        (copy / name).unlink()
        assert reason in refused(one, copy)
    short = shutil.copytree(members / "wide", tmp_path / "short")
    (short / "predictions.csv").write_text(
        "\n".join((short / "predictions.csv").read_text().splitlines()[:3]) + "\n"
    )
    assert "lacks images that it held out" in refused(one, short)
    (short / "model.keras").write_bytes(b"no model")
    assert "cannot be loaded" in refused(one, short)


def test_other_classes_are_named(members, tmp_path, refused):
    other = shutil.copytree(members / "wide", tmp_path / "other")
    old = Classifier.load(other / "model.keras")
    labels = ["blue", "pink", "red"]
    save(old.model, other / "model.keras", labels, old.size, old.resize, old.backbone)
    classes = "green only in the first, pink only in the second"
    assert classes in refused(members / "one", other)


def test_a_backbone_that_is_missing_is_named(members, tmp_path, refused):
    other = shutil.copytree(members / "wide", tmp_path / "other")
    old = Classifier.load(other / "model.keras")
    model = old.model
    save(model, other / "model.keras", old.labels, old.size, old.resize, "absent")
    parts = {}
    with zipfile.ZipFile(other / "model.keras") as archive:
        for name in archive.namelist():
            parts[name] = archive.read(name)
    parts["config.json"] = parts["config.json"].replace(b'"ReLU"', b'"Absent"')
    with zipfile.ZipFile(other / "model.keras", "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    assert "install a package with the backbone 'absent'" in refused(members / "one", other)


def test_runs_that_share_no_validation_image_are_refused(members, tmp_path):
    other = shutil.copytree(members / "wide", tmp_path / "other")
    table = (other / "splits.csv").read_text()
    swapped = {"validation": "train", "train": "validation"}
    table = re.sub(r'"(validation|train)"', lambda m: f'"{swapped[m[1]]}"', table)
    (other / "splits.csv").write_text(table)
    with pytest.raises(DataError, match=r"held out by all 2 runs.*--seed, --val and --test"):
        tlearn.ensemble([members / "one", other], tmp_path / "run", quiet=True)


def test_photos_that_moved_are_named(members, tmp_path):
    paths = []
    for name in ("one", "wide"):
        paths.append(shutil.copytree(members / name, tmp_path / name))
        record = yaml.safe_load((paths[-1] / "run.yaml").read_text())
        record["data"]["path"] = str(tmp_path / "gone")
        (paths[-1] / "run.yaml").write_text(yaml.safe_dump(record))
    with pytest.raises(DataError, match="can no longer be read"):
        tlearn.ensemble(paths, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()
