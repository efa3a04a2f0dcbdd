"""The report: one page about a run that stands alone, whatever the run."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import Heard
from written_runs import written_run

import tlearn
from tlearn.cli import main
from tlearn.errors import RunError
from tlearn.reports import examples as reports_examples, page as page_module
from tlearn.reports.confusion_table import MOST
from tlearn.reports.page import report_of_training
from tlearn.reports.photos import Limits, Photos
from tlearn.runs.class_figures import class_order, f1_share
from tlearn.runs.measurement import measure
from tlearn.runs.run import Run

pytestmark = pytest.mark.charts

STRANGER = """
from tlearn.backbones import ReportSection, hookimpl

@hookimpl
def tlearn_reports():
    return [
        ReportSection("mine", "Mine & yours", lambda run: f"<p>{len(run.labels)} of them</p>"),
        ReportSection("broken", "Broken", lambda run: 1 / 0),
        ReportSection("silent", "Silent", lambda run: None),
    ]
"""
SECTIONS = (
    "summary confusions classes mistakes calibration thresholds map training model-card left-out "
    "seconds configuration"
).split()
SCRIPTS = ["猫", "كلب أسود", "कुत्ता", "κουκουβάγια", "собака", "a" * 200]
HOSTILE = ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(2)>", "</title>&amp;\x1b"]


class Page(HTMLParser):
    """What a browser makes of a page: its tags with attributes, its texts, its script's data."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.words, self.source = [], [], path.read_text(encoding="utf-8")
        self.feed(self.source)
        data = re.search(r'<script type="application/json" id="photos">(.*?)</script>', self.source)
        self.photos = json.loads(data[1])

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return "".join(self.words)

    def ids(self, tag):
        return [attrs.get("id") for name, attrs in self.tags if name == tag]

    def loads(self):
        """Return what a browser would fetch or go to, beside the page itself."""
        keys = ("src", "href", "xlink:href", "data", "srcset")
        found = [attrs[key] for _, attrs in self.tags for key in keys if key in attrs]
        return [url for url in found if not url.startswith(("data:", "#"))]


@pytest.fixture
def stranger(plugin_file):
    return plugin_file("stranger", STRANGER)


def test_a_training_ends_with_a_report_that_stands_alone(toy_run):
    page, run = Page(toy_run.run / "report.html"), tlearn.Run(toy_run.run)
    assert page.ids("section") == SECTIONS and "Not drawn" not in page.text
    assert not page.loads() and "@import" not in page.source and "url(http" not in page.source
    figures = run.metrics["validation"]
    right = round(figures["accuracy"] * figures["n"])
    assert f"{right} right" in page.text and str(toy_run.photos) in page.text
    assert page.photos["labels"] == list(run.labels)
    assert len(page.photos["photos"]) == figures["n"] and all(p[4] for p in page.photos["photos"])
    assert "tlearn report RUN" in page.text
    error = 100 * run.metrics["calibration"]["after"]["error"]
    assert re.findall(r"off by ([\d.]+) points", page.text) == [f"{error:.1f}"]


def test_written_again_it_says_why_the_model_answers_as_it_does(copied_run, tmp_path):
    run = copied_run
    page = Page(tlearn.report(run, tmp_path / "page.html"))
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    cards = page.source.count('<small class="file"')
    assert cards == run.metrics["validation"]["n"] == page.text.count("most alike: ")
    assert page.source.count("width=160") == 2 * cards and "Not drawn" not in page.text


def test_a_long_training_has_heat_maps_at_once(copied_run, tmp_path, monkeypatch):
    monkeypatch.setattr(reports_examples, "LONG_TRAINING", 0.0)
    page = Page(tlearn.report(copied_run, tmp_path / "page.html", thorough=False))
    assert "most alike: " in page.text
    monkeypatch.setattr(Run, "model", property(lambda run: 1 / 0))
    page = Page(tlearn.report(copied_run, tmp_path / "page.html", thorough=False))
    assert "There are no heat maps: ZeroDivisionError" in page.text
    assert "Not drawn" not in page.text and "width=160" in page.source


def test_the_report_of_a_training_needs_no_tensorflow(copied_run, tmp_path):
    code = (
        "import sys, tlearn; tlearn.report(*sys.argv[1:], thorough=False); "
        "print({'tensorflow', 'keras', 'sklearn'} & sys.modules.keys())"
    )
    words = [str(copied_run.path), str(tmp_path / "page.html")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.stdout == "set()\n" and not done.stderr


def test_names_in_any_script_and_hostile_ones_are_only_text(tmp_path):
    labels = [*SCRIPTS, *HOSTILE]
    problems = [(label, "unreadable", label) for label in HOSTILE]
    run = written_run(tmp_path, labels, [3] * len(labels), problems=problems)
    page = Page(tlearn.report(run))
    assert "Not drawn" not in page.text and page.ids("section") == SECTIONS
    assert [attrs for tag, attrs in page.tags if tag == "script"] == [
        {"type": "application/json", "id": "photos"},
        {},
    ]
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)
    for label in labels[:-1]:
        assert page.text.count(label) >= 4, label
    assert page.photos["labels"][-1] == "</title>&amp;\\x1b" and "\x1b" not in page.source
    # A browser would write a path that begins in Arabic from right to left, its folder last.
    assert "<bdi dir=ltr><bdi dir=ltr>c0</bdi>/<bdi dir=ltr>0.jpg</bdi></bdi>" in page.source


@pytest.mark.parametrize(
    "numbers",
    [[2, 1], [0, 8, 30], [1] * 100, [0] * 60 + [3] * 40],
    ids=["three photos", "three classes", "hundred classes", "many without photos"],
)
def test_any_number_of_classes_and_photos(tmp_path, numbers):
    labels = [f"class {k}" for k in range(len(numbers))]
    page = Page(tlearn.report(written_run(tmp_path, labels, numbers)))
    assert "Not drawn" not in page.text and page.ids("section") == SECTIONS
    cells = [attrs["data-cell"] for _, attrs in page.tags if "data-cell" in attrs]
    assert {tuple(map(int, cell.split(","))) for cell in cells} == {
        (is_, said) for _, is_, said, *_ in page.photos["photos"]
    }
    assert ("no photos" in page.text) == (0 in numbers)


def test_the_summary_says_when_not_to_believe_it(tmp_path):
    lines = {}
    for skill in (0.0, 6.0):
        run = written_run(tmp_path / str(skill), ["a", "b", "c"], [40, 40, 20], skill=skill)
        lines[skill] = Page(tlearn.report(run, thorough=False)).text
    bad, good = lines.values()
    assert "not surely better than naming a each time, which would be right for 40.0%" in bad
    assert "misses more than half of them" in bad and "most often taken for" in bad
    for words in ("surely better", "more than half"):
        assert words not in good
    assert "What it must not be used for" in good and "Decisions about people" in good


def test_copies_within_a_split_count_where_photos_are_counted(tmp_path):
    run = written_run(tmp_path, ["a", "b"], [4, 4])
    table = run.path / "splits.csv"
    table.write_text(table.read_text().replace("00000001", "00000000"))
    text = Page(tlearn.report(run, thorough=False)).text
    assert "trained on 2 of 10 photos" in text and "Held back: 8 for validation" in text
    assert "2 train, 8 validation" in text


def test_of_very_many_classes_those_that_are_confused_are_shown(tmp_path):
    run = written_run(tmp_path, [f"class {k}" for k in range(MOST + 30)], [1] * (MOST + 30), side=0)
    page = Page(tlearn.report(run, thorough=False))
    confusions = page.source.split('id="confusions"')[1].split("</section>")[0]
    assert confusions.count("<th scope=row>") == MOST
    assert f"Of the {MOST + 30} classes these are the {MOST}" in page.text


def test_large_photos_have_fewer_thumbnails_after_a_training(tmp_path):
    run = written_run(tmp_path, ["a", "b"], [4, 4])
    rows = run.held_out_predictions()
    photos = Photos.of(run.photo_folder, rows, thorough=False)
    assert len(photos.thumbnails) == 8
    assert len(replace(photos, limits=Limits(6, 1)).thumbnails) == 1
    assert len(replace(photos, limits=Limits(6, 10_000_000)).thumbnails) == 6


def test_photos_that_were_moved_away_are_given_by_name(tmp_path):
    run = written_run(tmp_path, ["a", "b"], [4, 4], side=0)
    page = Page(tlearn.report(run))
    assert "8 of 8 photos are no longer below" in page.text and "c0/0.jpg" in page.text
    assert "Not drawn" not in page.text


def test_a_thousand_photos_fit_into_five_megabytes(tmp_path):
    run = written_run(tmp_path, [f"class {k}" for k in range(20)], [50] * 20, side=160)
    page = tlearn.report(run)
    assert page.stat().st_size < 5_000_000
    assert sum(bool(photo[4:]) for photo in Page(page).photos["photos"]) > 900


def test_confused_classes_are_neighbours():
    labels = [f"class {k}" for k in range(40)]
    y = np.repeat(np.arange(40), 10)
    guess = y.copy()
    guess[::10] = (y[::10] + 20) % 40  # each is confused with the one twenty places on
    order = class_order(measure(y, np.eye(40)[guess] + 1e-9, labels))
    places = np.argsort(order)
    assert sorted(order) == list(range(40))
    assert all(abs(places[k] - places[(k + 20) % 40]) == 1 for k in range(40))
    assert class_order(measure(y, np.eye(40)[y] + 1e-9, labels)) == list(range(40))


def test_the_interval_of_f1_covers_the_truth_in_95_of_100_samples():
    """Of samples of photos of which each is of the class, predicted as it, both or neither."""
    rng = np.random.default_rng(0)
    for both, only_of, only_as in ((0.2, 0.05, 0.1), (0.05, 0.05, 0.01), (0.09, 0.01, 0.0)):
        truth = 2 * both / (2 * both + only_of + only_as)
        counts = rng.multinomial(
            300, [both, only_of, only_as, 1 - both - only_of - only_as], size=4000
        )
        shares = [f1_share(int(b), int(b + o), int(b + a)) for b, o, a, _ in counts if b + o]
        assert 0.935 < np.mean([s.ci95[0] <= truth <= s.ci95[1] for s in shares]) < 0.975
        assert all(s.ci95[0] - 1e-9 <= s.value <= s.ci95[1] + 1e-9 for s in shares)


def test_a_section_that_fails_is_named_and_spoils_no_other(copied_run, tmp_path, capsys, stranger):
    run = copied_run
    plugins = str(tmp_path / "plugins")
    out = tmp_path / "page.html"
    assert main(["report", str(run.path), "--out", str(out), "--plugins-dir", plugins]) == 0
    said = capsys.readouterr()
    assert said.out == f"the report is {out}\n"
    assert "section broken of the report could not be drawn: ZeroDivisionError" in said.err
    page = out.read_text(encoding="utf-8")
    assert '<section id="mine"><h2>Mine &amp; yours</h2>\n<p>3 of them</p>\n</section>' in page
    assert "Not drawn: ZeroDivisionError: division by zero" in page
    assert "render must return HTML, it returned None" in page
    assert 'id="summary"' in page


def test_a_fault_of_the_page_loses_no_training(tmp_path, monkeypatch):
    run, progress = written_run(tmp_path, ["a", "b"], [2, 2]), Heard()
    monkeypatch.setattr(page_module, "_page", lambda contents: 1 / 0)
    report_of_training(run, progress)
    assert progress.lines == ["there is no report: ZeroDivisionError: division by zero"]
    assert not (run.path / "report.html").exists()


def test_slips_of_the_report(copied_run, tmp_path, capsys):
    assert main(["report", str(tmp_path / "none")]) == 2
    assert "there is no run directory" in capsys.readouterr().err
    assert main(["report", str(copied_run.path), "--out", str(tmp_path / "no/page.html")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "no" in err
    assert not (tmp_path / "no").exists()
    with pytest.raises(RunError, match=r"the report '.*' cannot be written: .*; choose another"):
        tlearn.report(copied_run, tmp_path)
