"""Checks of what is on the photos: copies, shots of one scene, suspect labels, outliers."""

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter

from tlearn.checks.alignment import PIXELS
from tlearn.checks.content import check_content
from tlearn.checks.copy_checks import Pictures, check_copies, check_shots
from tlearn.checks.finding import proposed_edits
from tlearn.checks.near_duplicates import Pair, near_duplicates
from tlearn.checks.neighbours import GROUP, nearest
from tlearn.checks.outliers import FALSE_ALARMS, outlier_scores
from tlearn.checks.photo_features import within_borders
from tlearn.checks.suspect_labels import label_noise
from tlearn.config import RunConfig
from tlearn.data.edits import Change, append_edits
from tlearn.data.file_table import FileTable
from tlearn.data.layouts import SPLITS
from tlearn.data.scan import scan
from tlearn.data.splits import draw_splits
from tlearn.progress import Silent

COPIES = ("conflict", "duplicate", "leak", "near duplicate")
COLOURS = {"blue": (40, 60, 200), "red": (200, 60, 40), "green": (60, 180, 60)}


def draw(seed, colour=(128, 128, 128)):
    """Draw blots of two sizes in a colour, 96 by 72 pixels, others for each seed."""
    noise = np.random.default_rng(seed).normal(size=(2, 72, 96))
    coarse, fine = (gaussian_filter(x, s) for x, s in zip(noise, (9, 3), strict=True))
    blots = coarse / coarse.std() + fine / fine.std()
    pixels = np.array(colour) + 25 * blots[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def test_neighbours_are_the_nearest_other_rows():
    rng = np.random.default_rng(0)
    x, of = rng.normal(size=(2, 40, 3)).astype(np.float32)
    places, distances = nearest(x, 4, of)
    wanted = np.linalg.norm(of[:, None] - x, axis=2)
    wanted[np.diag_indices(40)] = np.inf
    assert (places == wanted.argsort(axis=1)[:, :4]).all()
    np.testing.assert_allclose(distances, np.sort(wanted, axis=1)[:, :4], atol=1e-3)
    assert nearest(x[:1], 4)[0].shape == (1, 0)


def test_neighbours_among_many_rows_are_the_nearest():
    x = np.random.default_rng(0).normal(size=(6 * GROUP + 5, 3)).astype(np.float32)
    x[-1] = x[0] + 0.01  # in no whole group
    wanted = np.linalg.norm(x[:, None] - x, axis=2)
    np.fill_diagonal(wanted, np.inf)
    places, distances = nearest(x, 4)
    assert (np.sort(places) == np.sort(wanted.argsort(axis=1)[:, :4])).all()
    np.testing.assert_allclose(distances, np.sort(wanted, axis=1)[:, :4], atol=2e-3)


def test_copies_are_found_however_they_were_changed_and_other_pictures_are_not():
    pictures = [draw(seed).convert("L") for seed in range(60)]
    changed = [
        pictures[0],
        *(pictures[i].transpose(turn) for i, turn in enumerate(Image.Transpose, 1)),
        *(pictures[i].rotate(i - 15, Image.Resampling.BICUBIC) for i in range(8, 23)),
        *(
            pictures[i].crop((i % 5 * 6, i % 4 * 6, 72 + i % 5 * 6, 54 + i % 4 * 6))
            for i in range(23, 40)
        ),
        *(pictures[i].crop((i % 5, i % 4, 96 - i % 6, 72 - i % 3)) for i in range(40, 50)),
    ]
    thumbnails = np.stack([np.asarray(x.resize((PIXELS, PIXELS))) for x in [*pictures, *changed]])
    features = np.random.default_rng(0).normal(size=(110, 30)).astype(np.float32)
    features[60:] = features[:50] + features[60:] / 2
    pairs = near_duplicates(features, thumbnails, Silent())
    assert sorted((pair.first, pair.second) for pair in pairs) == [(i, 60 + i) for i in range(50)]
    assert {pair.kind for pair in pairs} == {"copy"}


def test_borders_of_one_colour_do_not_count():
    picture = draw(0)
    for border in (0, 3, 20):
        for colour in ("black", "white", (90, 40, 200)):
            bordered = ImageOps.expand(picture.resize((480, 360)), border, colour)
            left, top, right, bottom = within_borders(bordered)
            assert left <= border <= left + 4 and top <= border <= top + 4
            assert 0 <= right - 480 - border < 4 and 0 <= bottom - 360 - border < 4
    for even in (Image.new("RGB", (40, 30)), ImageOps.expand(picture, 120, "white")):
        assert within_borders(even) == (0, 0, *even.size)


def clusters(n, classes, apart, seed):
    """Draw features of classes around centres, and their classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    centres = apart * np.random.default_rng(0).normal(size=(classes, 30))
    return (centres[y] + rng.normal(size=(n, 30))).astype(np.float32), y


def test_labels_that_were_swapped_are_suspect_and_those_of_clean_sets_are_not():
    z, y = clusters(400, 4, 1.0, 1)
    units = [str(i) for i in range(400)]
    clean = label_noise(z, y, 4, units, 0)
    assert not len(clean.suspects()) and clean.rate < 0.01
    swapped = np.random.default_rng(2).choice(400, 20, replace=False)
    labels = y.copy()
    labels[swapped] = (y[swapped] + 1) % 4
    noise = label_noise(z, labels, 4, units, 0)
    assert set(noise.suspects().tolist()) == set(swapped.tolist())
    assert 0.03 < noise.rate < 0.08
    assert (noise.probabilities[swapped].argmax(axis=1) == y[swapped]).all()


def test_labels_that_were_swapped_between_two_alike_classes_are_suspect():
    z, y = clusters(600, 4, 1.0, 1)
    z[y == 1] += 0.5 * (z[y == 0].mean(axis=0) - z[y == 1].mean(axis=0))
    swapped = np.flatnonzero(y == 0)[:30]
    labels = y.copy()
    labels[swapped] = 1
    suspects = set(label_noise(z, labels, 4, [str(i) for i in range(600)], 0).suspects().tolist())
    hits = len(suspects & set(swapped.tolist()))
    assert hits > 24 and hits > 0.8 * len(suspects)


def test_copies_with_one_wrong_label_do_not_vouch_for_each_other():
    z, y = clusters(200, 4, 1.0, 1)
    z, labels = np.concatenate([z, z[:1].repeat(5, axis=0)]), np.append(y, [1] * 5)
    labels[0] = 1
    units = [str(i) for i in range(200)] + ["0"] * 5
    assert set(label_noise(z, labels, 4, units, 0).suspects().tolist()) == {0, *range(200, 205)}


def test_labels_of_classes_with_very_few_photos_are_not_judged():
    z, y = clusters(60, 2, 1.0, 1)
    y[:2] = 2
    assert not label_noise(z, y, 3, [str(i) for i in range(60)], 0).wrong[:2].any()
    assert not label_noise(z[:4], y[:4], 3, list("abcd"), 0).wrong.any()


def test_a_small_class_that_resembles_a_large_one_is_not_suspect():
    for seed, photos in ((2, 20), (0, 12)):
        z, y = clusters(400, 4, 1.0, seed)
        z[y == 1] += 0.8 * (z[y == 0].mean(axis=0) - z[y == 1].mean(axis=0))
        some = np.append(np.flatnonzero(y != 1), np.flatnonzero(y == 1)[:photos])
        noise = label_noise(z[some], y[some], 4, [str(i) for i in some], 0)
        assert (y[some][noise.suspects()] == 1).sum() <= photos / 3


def test_labels_are_not_judged_where_photos_tell_nothing_of_them():
    rng = np.random.default_rng(0)
    for n, classes in ((6, 2), (12, 2), (40, 4), (100, 2)):
        for seed in range(4):
            z, y = rng.normal(size=(n, 5)).astype(np.float32), np.arange(n) % classes
            assert not len(label_noise(z, y, classes, [*map(str, range(n))], seed).suspects())


def test_outliers_are_called_so_about_as_often_as_is_said_where_there_are_none():
    rates = []
    for seed, (width, apart, classes) in enumerate([(16, 1, 5), (64, 1, 2), (256, 0.5, 5)] * 4):
        rng = np.random.default_rng(seed)
        y, scales = np.arange(600) % classes, np.geomspace(1, 0.2, width)
        centres = 1 + apart * scales * rng.normal(size=(classes, width))
        top = centres[y] + scales * rng.normal(size=(600, width))
        rates.append((outlier_scores(np.abs(top).astype(np.float32), y) > 1).mean())
    assert 0.3 * FALSE_ALARMS < np.mean(rates) < 2 * FALSE_ALARMS
    top[:6] *= -1
    assert (outlier_scores(top.astype(np.float32), y)[:6] > 1).all()
    assert not outlier_scores(top[:8].astype(np.float32), y[:8]).any()


@pytest.fixture
def photos(tmp_path):
    """Draw photos of three classes, with a folder for each split."""
    for k, (label, colour) in enumerate(COLOURS.items()):
        for i in range(16):
            folder = tmp_path / "photos" / ("test" if i > 11 else "train") / label
            folder.mkdir(parents=True, exist_ok=True)
            draw(100 * k + i, colour).save(folder / f"{i}.png")
    return tmp_path / "photos"


def content_findings(photos):
    config = RunConfig(backbone="toy", weights="none")
    return {f.names[0]: f for f in check_content(scan(photos), config, Silent())}


def test_a_clean_set_has_no_findings_of_copies_or_labels(photos):
    assert not [f for f in content_findings(photos).values() if f.check != "outlier"]


def test_copies_are_found_across_splits_and_classes_and_within_one(photos):
    picture = Image.open(photos / "test/red/13.png")
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((60, 45))
    mirrored.save(photos / "train/red/leak.jpg", quality=60)
    Image.open(photos / "train/red/2.png").save(photos / "train/blue/conflict.jpg", quality=80)
    Image.open(photos / "train/green/3.png").crop((3, 2, 93, 70)).save(
        photos / "train/green/near.png"
    )
    (photos / "train/green/same.png").write_bytes((photos / "train/green/4.png").read_bytes())
    found = content_findings(photos)
    leak, conflict = found["train/red/leak.jpg"], found["train/blue/conflict.jpg"]
    assert (leak.check, leak.severity, leak.names[1]) == ("leak", "error", "test/red/13.png")
    assert leak.edits == (Change("train/red/leak.jpg", "exclude"),)
    assert leak.reason.startswith("in train, and")
    assert (conflict.check, conflict.names[1]) == ("conflict", "train/red/2.png")
    checks = {
        f.names: f.check for f in found.values() if f.check in ("duplicate", "near duplicate")
    }
    assert checks == {
        ("train/green/near.png", "train/green/3.png"): "near duplicate",
        ("train/green/same.png", "train/green/4.png"): "duplicate",
    }
    append_edits(photos, proposed_edits([f for f in found.values() if f.check in COPIES]))
    assert not [f for f in content_findings(photos).values() if f.check in COPIES]


def test_shots_of_one_scene_get_one_group_and_then_one_split(photos):
    files = scan(photos).files
    places = [
        [f.name for f in files].index(f"{s}/red/{n}.png") for s, n in (("test", 12), ("train", 1))
    ]
    pairs = [Pair(*places, "shots", 0.8)]

    def pictures(files, times=1):
        every, labels = FileTable.concatenated([files] * times), sorted(COLOURS)
        numbers = np.tile(np.arange(len(files)), times)
        return Pictures(every, numbers, labels, every.given.as_numbers(SPLITS), pairs)

    (finding,) = check_shots(pictures(files))
    assert (finding.check, finding.severity) == ("burst", "warning")
    assert finding.names == ("train/red/1.png", "test/red/12.png")
    (copied,) = check_shots(pictures(files, times=2))
    assert finding.reason.startswith("2 near") and copied.reason.startswith("4 near")
    group = "shots like train/red/1.png"
    assert finding.edits == tuple(Change(name, "group", group) for name in finding.names)
    append_edits(photos, finding.edits)
    manifest = scan(photos)
    drawn, _ = draw_splits(manifest, 0.2, 0.0, 0)
    assert "train/red/1.png" not in {file.name for file in drawn.train}
    assert "test/red/12.png" in {file.name for file in drawn.test}
    grouped = pictures(manifest.files)
    assert not check_shots(grouped) and len(set(grouped.units())) == len(files) - 1


def test_a_conflict_that_a_probe_cannot_decide_is_left_to_the_user(photos):
    files = scan(photos).files[:2].replaced(label=["blue", "green"])
    pictures = Pictures(files, np.zeros(2, int), ["blue", "green"], np.full(2, -1), [])
    for own, edits in ((0.5, 0), (0.54, 0), (0.9, 1)):
        (finding,) = check_copies(pictures, np.array([[own, 1 - own]]))
        assert finding.check == "conflict" and len(finding.edits) == edits
        assert ("cannot say" in finding.reason) is not bool(edits)


def test_of_two_copies_one_that_is_deleted_meanwhile_is_not_the_one_to_keep(photos):
    files = scan(photos).files[:2]
    files[0].path.unlink()
    pictures = Pictures(files, np.zeros(2, int), ["blue"], np.full(2, -1), [])
    (finding,) = check_copies(pictures, np.ones((1, 1)))
    assert finding.names == (files[0].name, files[1].name)


def test_a_leak_by_the_splits_that_a_training_draws_says_so(photos):
    for path in [*(photos / "train" / "red").iterdir()]:
        Image.open(path).save(path.with_suffix(".jpg"), quality=80)
    leaks = [f for f in content_findings(photos / "train").values() if f.check == "leak"]
    assert leaks and all("a training puts this one into train" in f.reason for f in leaks)


def test_a_photo_of_another_class_is_suspect_and_its_edit_gives_it_that(photos):
    draw(999, COLOURS["red"]).save(photos / "train/blue/wrong.png")
    finding = content_findings(photos)["train/blue/wrong.png"]
    assert finding.check == "suspect label" and 0.5 < finding.score <= 1
    assert finding.edits == (Change("train/blue/wrong.png", "class", "red"),)
    (photos / "train/red/right.png").write_bytes((photos / "train/blue/wrong.png").read_bytes())
    found = content_findings(photos)
    assert found["train/blue/wrong.png"].check == "conflict"
    assert "train/red/right.png" not in found
