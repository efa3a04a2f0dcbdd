"""Charts: one definition for the page and for files, in any script, on any background."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from tlearn.runs import charts
from tlearn.runs.confusion_chart import FILE_MATRIX, MATRIX, PAIRS, confusion
from tlearn.runs.measurement import measure
from tlearn.web.i18n import Texts

pytestmark = pytest.mark.charts

DARK, WHITE = "#0e1117", "#ffffff"  # the backgrounds of the page's themes
NAMES = ["猫", "كلب", "कुत्ता", "می‌خواهم", r"$\foo$ 50 %", "<b>&'\"", "a\x1b\n\x00\ufffe\udcff"]


def figures(labels, n=200):
    rng = np.random.default_rng(0)
    y = rng.integers(0, len(labels), n)
    p = rng.random((n, len(labels)))
    p[np.arange(n), y] += 0.6
    return measure(y, p / p.sum(axis=1, keepdims=True), labels)


def texts(svg):
    """Return all texts of an SVG, which must be well-formed."""
    return [
        "".join(t.itertext()) for t in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    ]


def epochs(*values, stage="top"):
    """The epochs of a stage with these figures on validation."""
    row = {"stage": stage, "accuracy": 0.5, "loss": 1.0}
    return [
        row | {"epoch": number, "val_accuracy": value, "val_loss": value}
        for number, value in enumerate(values, start=1)
    ]


def test_names_in_any_script_come_out_and_control_characters_are_escaped():
    found = texts(charts.render(confusion(figures(NAMES), title="test: 猫 \x07"))["svg"])
    for name in NAMES[:-1]:
        assert found.count(name) == 2, name
    assert found.count(r"a\x1b\n\x00\ufffe\udcff") == 2 and r"test: 猫 \x07" in found
    labels = [f"{NAMES[k % 7]} {k}" for k in range(30)]
    bars = texts(charts.render(confusion(figures(labels)))["svg"])
    # Words between two names: with an arrow alone, names in Arabic would change places.
    pairs = [text for text in bars if " taken for " in text]
    assert len(pairs) == PAIRS and any(text.startswith("كلب") for text in pairs)


def test_the_same_chart_gives_the_same_bytes():
    curve = charts.learning_curve(epochs(0.5), {"accuracy": 0.4, "loss": 2.0})
    one, other = (charts.render(curve) for _ in range(2))
    assert one == other and one["png"].startswith(b"\x89PNG")


def test_curves_begin_at_the_probe_and_have_a_border_where_a_stage_begins():
    rows = epochs(0.4, None) + epochs(0.6) + epochs(0.5, stage="all")
    spec = charts.learning_curve(rows, {"accuracy": 0.3})
    borders, line = (layer["data"]["values"] for layer in spec["layer"])
    assert [(row["stage"], row["epoch"]) for row in borders] == [
        ("probe", 0),
        ("top", 0.5),
        ("top", 2.5),
        ("all", 3.5),
    ]
    assert line[0] == {"epoch": 0, "split": "validation", "value": 0.3}
    assert len(line) == 8  # a figure that is not finite is left out
    empty = charts.learning_curves([], {"accuracy": 0.3, "loss": 1.0})
    assert all(map(charts.render, empty.values())) and list(empty) == ["accuracy", "loss"]


def test_a_confusion_matrix_is_sized_by_its_classes_up_to_a_limit():
    sizes = []
    for count in (3, MATRIX):
        labels = [f"猫 {k}" for k in range(count)]
        spec = confusion(figures(labels))
        assert spec["encoding"]["x"]["sort"] == spec["encoding"]["y"]["sort"] == labels
        assert len(spec["data"]["values"]) == count**2
        sizes.append(count * spec["width"]["step"])
    assert sizes[0] < sizes[1]


def test_of_more_classes_the_most_confused_pairs_come_first():
    labels = [f"c{k}" for k in range(MATRIX + 1)]
    y = np.array([0] * 9 + [1] * 5 + [2] * 3 + [3])
    guess = np.array([0] * 7 + [4] * 2 + [6] * 5 + [2] * 2 + [0] + [3])
    found = measure(y, np.eye(len(labels))[guess] + 1e-9, labels)
    spec = confusion(found)
    rows = spec["data"]["values"]
    assert [(r["true"], r["predicted"], r["count"]) for r in rows] == [
        ("c1", "c6", 5),
        ("c0", "c4", 2),
        ("c2", "c0", 1),
    ]
    assert rows[1]["share"] == pytest.approx(2 / 9)


def test_in_a_file_the_matrix_of_a_hundred_classes_is_whole_and_names_all():
    labels = [f"猫 {k}" for k in range(FILE_MATRIX)]
    found = figures(labels, n=900)
    spec = confusion(found, order=labels[::-1])
    cells = sum(len(row) for row in found["confusion"].values())
    assert len(spec["data"]["values"]) == cells and spec["encoding"]["y"]["sort"] == labels[::-1]
    files = charts.render(spec)
    words = texts(files["svg"])
    assert all(words.count(label) == 2 for label in labels) and len(files["png"]) < 2_000_000


def test_without_errors_there_is_still_a_chart():
    y = np.arange(40)
    found = measure(y, np.eye(40) + 1e-9, [str(k) for k in y])
    assert charts.render(confusion(found))["svg"]


def test_the_page_has_a_text_for_every_word():
    for language in ("en", "zh"):
        words = {word: Texts(language)(f"chart.{word}") for word in charts.WORDS}
        spec = charts.learning_curve(epochs(0.1), None, words=words)
        assert words["epoch"] in str(spec)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_colours_stand_out_in_light_and_dark():
    """Three to one is what WCAG 2 asks of graphics."""
    for colour in (charts.TRAINING, charts.VALIDATION, charts.SHARE):
        for background in (DARK, WHITE):
            low, high = sorted(map(luminance, (colour, background)))
            assert (high + 0.05) / (low + 0.05) >= 3, (colour, background)
    blue, orange = charts.TRAINING, charts.VALIDATION
    assert int(blue[5:7], 16) - int(blue[1:3], 16) > 100  # told apart without red and green
    assert int(orange[1:3], 16) - int(orange[5:7], 16) > 100


def test_a_comparison_names_all_backbones():
    rows = [
        {
            "backbone": name,
            "images_per_second": rate,
            "accuracy": accuracy,
            "accuracy_ci95": [accuracy - 0.1, accuracy + 0.05],
            "frontier": frontier,
        }
        for name, rate, accuracy, frontier in (("a", 500.0, 0.8, True), ("b", 20.0, 0.7, False))
    ]
    for some in (rows, rows[:1]):
        svg = charts.render(charts.accuracy_against_cost(some))["svg"]
        assert {row["backbone"] for row in some} <= set(texts(svg))
    assert re.search(r"milliseconds per image", svg.decode())
