"""Accuracy by the number of photos, and what more would bring, where the truth is known."""

import json
from itertools import pairwise

import numpy as np
import pytest
from conftest import draw_photos
from scipy.stats import norm

import tlearn
from tlearn.cli import main
from tlearn.config import RunConfig
from tlearn.data.scan import scan
from tlearn.data.splits import draw_splits
from tlearn.errors import DataError
from tlearn.experiments.power_law import LITTLE, fit_laws, forecast
from tlearn.experiments.subsets import NEVER, SHARES, subsets_of

TOY = {"backbone": "toy", "weights": "none"}


def curve(images, a, b, c, seed, repeats=3):
    """Draw which photos probes of a known error are wrong about; some are hard for all of them."""
    rng = np.random.default_rng(seed)
    sizes = images * np.array(SHARES)
    hard = rng.normal(size=images)
    noise = rng.normal(size=(repeats, len(sizes), images))
    thresholds = norm.ppf(a * sizes**-b + c)
    return sizes, 0.85 * hard + np.sqrt(1 - 0.85**2) * noise < thresholds[:, None]


@pytest.mark.parametrize(("a", "b", "c"), [(2, 0.35, 0.0), (3, 0.7, 0.05), (0.0, 0.5, 0.1)])
def test_the_interval_holds_what_more_photos_bring(a, b, c):
    truth = a * 600**-b - a * 1200**-b
    likely = [forecast(*curve(600, a, b, c, seed), np.arange(600), seed) for seed in range(20)]
    covered = [one.ci95[0] <= truth <= one.ci95[1] for one in likely]
    assert sum(covered) >= 17  # of 20 at 95% less are one in a thousand
    claimed = sum(one.ci95[0] > LITTLE for one in likely)
    assert claimed == 0 if truth == 0 else claimed == 20 or truth < 0.03
    assert np.mean([one.ci95[1] - one.ci95[0] for one in likely]) < 0.04


def test_a_law_is_found_again():
    sizes = np.array([50.0, 100.0, 200.0, 400.0])
    for law in (0, 1):
        a, b, c = 2.0, 0.5, 0.0 if law else 0.08
        fitted = fit_laws(sizes, (a * sizes**-b + c)[None], 1e-4 * np.eye(4))[law]
        assert fitted.error(800)[0] == pytest.approx(a * 800**-b + c, abs=1e-6)


def test_what_cannot_be_told_is_said():
    rng = np.random.default_rng(0)
    sizes = 40 * np.array(SHARES)
    few = forecast(sizes, rng.random((3, 6, 40)) < 0.4 * sizes[:, None] ** -0.2, np.arange(40), 0)
    assert "it cannot be told what 40 more photos" in few.text
    none = forecast(10 * sizes, np.zeros((3, 6, 400)), np.arange(400), 0)
    assert "400 more photos of the same kind would hardly help: 1.0 points at most" in none.text
    # No mistake among few photos is no proof that there will be none.
    assert forecast(sizes, np.zeros((3, 6, 40)), np.arange(40), 0).ci95[1] > 0.05


def test_subsets_grow_by_groups_and_keep_every_class(photos):
    for path in photos.rglob("*.png"):  # each photo twice, as a group
        path.with_name(f"{path.stem} again.png").write_bytes(path.read_bytes() + b" ")
    config = RunConfig(group=r"(\d+)", val=0.25, seed=3)
    manifest = scan(photos, config.group)
    splits = draw_splits(manifest, config.val, 0.0, config.seed)[0]
    subsets = subsets_of(splits, config)
    assert len(subsets.files) == 72 and set(subsets.folds.ravel()) == {0, 1, 2, 3}
    for _, outside, nested in subsets.parts():
        for smaller, larger in pairwise(nested):
            assert set(smaller) <= set(larger) and len(smaller) < len(larger)
        assert len(nested[-1]) + len(outside) == 72
        for inside in nested:
            rest = np.setdiff1d(np.arange(72), inside)
            assert not set(subsets.groups[inside]) & set(subsets.groups[rest])
            assert len(set(subsets.y[inside])) == 3


def test_the_command_writes_curve_and_chart(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    draw_photos(tmp_path / "more", 8, seed=1)
    for path in (tmp_path / "more").rglob("*.png"):
        path.rename(photos / path.parent.name / f"more {path.name}")
    arguments = ["learning-curve", str(photos), "--quiet", *"--backbone toy --weights none".split()]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    folder = tmp_path / "learning_curves" / "photos"
    assert {path.suffix for path in folder.iterdir()} == {".json", ".svg", ".png"}
    record = json.loads((folder / "learning_curve.json").read_text())
    assert record["measured_on"] == 60 and record["used"] == record["images"] == 60
    assert [row["share"] for row in record["sizes"]] == list(SHARES)
    assert record["sizes"][-1]["images"] == 48 and record["forecast"]["images"] == 96
    assert record["forecast"]["text"] in out
    again = tlearn.learning_curve(photos, tmp_path / "again", quiet=True, **TOY)
    assert again.record()["sizes"] == record["sizes"]


def test_many_photos_are_sampled_and_this_is_said(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("tlearn.experiments.subsets.MOST", 40)  # of 72
    for path in photos.rglob("*.png"):
        path.with_name(f"{path.stem} again.png").write_bytes(path.read_bytes() + b" ")
    curve = tlearn.learning_curve(photos, tmp_path / "out", quiet=True, **TOY)
    assert curve.used == curve.wrong.shape[2] == 40 and curve.all_images == 72
    assert "of a sample of 40 of the 72 photos" in curve.text


def test_given_validation_photos_are_held_out_throughout(photos, tmp_path):
    folder = draw_photos(tmp_path / "split" / "validation", 3, seed=2)
    photos.rename(folder.parent / "train")
    manifest = scan(folder.parent)
    subsets = subsets_of(draw_splits(manifest, 0.2, 0.0, 0)[0], RunConfig())
    held_out = [
        file.given for file, held in zip(subsets.files, subsets.measured, strict=True) if held
    ]
    assert held_out == ["validation"] * 9 and (subsets.folds == NEVER).sum() == 3 * 36


def test_too_few_photos_are_refused(tmp_path):
    data = draw_photos(tmp_path / "few", 5)
    with pytest.raises(DataError, match="about 30 photos or more to train on, for 3 classes"):
        tlearn.learning_curve(data, tmp_path / "out", quiet=True, **TOY)
    assert not (tmp_path / "out").exists()
