"""The benchmark of checks: what it plants, and how findings are scored."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.changed_copies import CHANGES
from benchmarks.planted_faults import ALIKE, FAULTS, plant, plant_swaps, score, score_changes
from tlearn.data.scan import scan


@pytest.fixture
def photos(tmp_path):
    """Draw photos of two sets with two classes each."""
    for name in ("set", "other"):
        for i in range(100):
            folder = tmp_path / name / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(i).integers(0, 256, (24, 32, 3), np.uint8)
            Image.fromarray(noise).save(folder / f"{name}{i}.jpg")
    return tmp_path


def test_faults_are_planted_in_photos_of_their_own_and_repeat_with_the_seed(photos):
    folders = [photos / name for name in ("first", "again", "third")]
    first, again, third = (
        plant(photos / "set", [photos / "other"], folder, seed)
        for folder, seed in zip(folders, (1, 1, 2), strict=True)
    )
    assert first.faults == again.faults != third.faults
    counts = {fault: list(first.faults.values()).count(fault) for fault in FAULTS}
    assert counts == {fault: round(100 * part) for fault, (part, _, _) in FAULTS.items()}
    copies = counts["copy across splits"] + counts["copy across classes"]
    assert len(first.sources) == 100 + copies
    manifest = scan(photos / "first")
    unreadable = {problem.name for problem in manifest.unreadable}
    assert unreadable == {n for n, fault in first.faults.items() if fault == "truncated"}
    labels = {file.name: file.label for file in manifest.files}
    for name, fault in first.faults.items():
        source = first.sources[name]
        if fault in ("wrong label", "copy across classes"):
            assert labels[name] != source[0]
        originals = [n for n, s in first.sources.items() if s == source and n != name]
        assert bool(originals) == ("copy" in fault)


def test_findings_are_scored_by_what_was_planted_and_what_is_native(photos):
    its = plant(photos / "set", [photos / "other"], photos / "copy", 1)
    planted = {fault: [n for n, f in its.faults.items() if f == fault] for fault in FAULTS}
    fine = [name for name in its.sources if name not in its.faults]
    wrong, leaked = planted["wrong label"], planted["copy across splits"]
    findings = [
        *({"check": "suspect label", "names": [name]} for name in [*wrong[:4], *fine[:2]]),
        *({"check": "leak", "names": [name, fine[0]]} for name in leaked),
        {"check": "leak", "names": fine[3:5]},
    ]
    first, second, third = (its.sources[name] for name in fine[3:6])
    native = [
        {"check": "duplicate", "names": [first, third]},
        {"check": "near duplicate", "names": [second, third]},
        {"check": "suspect label", "names": [its.sources[fine[1]]]},
    ]
    scores = score(findings, its, native)
    assert scores["suspect label"] == {"precision": 0.8, "recall": 0.8, "findings": 6, "false": 1}
    assert scores["leak"] == {"precision": 1.0, "recall": 1.0, "findings": 4, "false": 0}
    assert scores["dark"]["recall"] == 0.0


def test_copies_are_scored_by_how_they_were_changed(photos):
    its = plant(photos / "set", [photos / "other"], photos / "copy", 1)
    kinds = list(its.changes.values())
    assert kinds == list(CHANGES)[: len(kinds)]
    original = {source: name for name, source in its.sources.items() if name not in its.faults}
    copies = list(its.changes)
    fine = [name for name in its.sources if name not in its.faults]
    findings = [
        {"check": "leak", "names": [copies[0], original[its.sources[copies[0]]]]},
        {"check": "conflict", "names": [copies[1], fine[0]]},
    ]
    scores = score_changes(findings, its, [])
    assert scores[kinds[0]] == {"copies": 1, "named": 1, "false": 0}
    assert scores[kinds[1]] == {"copies": 1, "named": 0, "false": 1}
    assert scores[kinds[2]] == {"copies": 1, "named": 0, "false": 0}


def test_labels_of_two_alike_classes_are_swapped(photos, monkeypatch):
    monkeypatch.setitem(ALIKE, "set", ("a", "b"))
    its = plant_swaps(photos / "set", photos / "swapped", 1)
    assert len(its.sources) == 100 and set(its.faults.values()) == {"wrong label"}
    assert len(its.faults) == 5
    labels = {file.name: file.label for file in scan(photos / "swapped").files}
    assert all((labels[name] != its.sources[name][0]) == (name in its.faults) for name in labels)
