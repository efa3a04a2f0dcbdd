"""The pages of results and of predictions without a browser."""

import csv
import json
import re
import shutil
import threading
import time
from pathlib import Path

import pytest
import yaml
from conftest import draw_photos
from filelock import FileLock
from pages import labelled, links, page, press, run, t, view, words

from tlearn.data.scan import scan
from tlearn.errors import RunError
from tlearn.runs.predictions import Prediction
from tlearn.web import background, run_work
from tlearn.web.components import scans
from tlearn.web.components.explanations import MOST
from tlearn.web.downloads import export_url, report_url
from tlearn.web.explanation_process import ShownExplanation, explain
from tlearn.web.prediction_process import LIFETIME, TASKS, PredictionTask
from tlearn.web.words import isolate


def runs_of(here):
    return sorted(path.name for path in here.runs.iterdir() if path.name[0] != ".")


def known(monkeypatch, prediction):
    monkeypatch.setitem(TASKS, prediction.key, prediction)


@pytest.fixture
def one_and_two(here, toy_run):
    """Two runs that are alike, with photos in the data root; return their directories."""
    photos = shutil.copytree(toy_run.photos, here.data / "photos")
    runs = [here.runs / name for name in ("one", "two")]
    for path in runs:
        shutil.copytree(toy_run.run, path)
        record = (path / "run.yaml").read_text()
        (path / "run.yaml").write_text(record.replace(str(toy_run.photos), str(photos)))
    return runs


def test_results_of_a_run(here, one_and_two):
    app = page("results", **{"chosen.run": "one"})
    assert {metric.label for metric in app.metric} >= {
        f"{t('results.accuracy')} ({t('chart.validation')})",
        t("results.macro_f1"),
    }
    app.text_area[0].set_value("a note")
    press(app, "results.keep_note")
    assert (here.runs / "one" / "note.txt").read_text() == "a note\n"
    run(labelled(app.selectbox, t("results.compare")).set_value("two"))
    assert "could be chance" in words(app) and app.query_params["compare"] == "two"
    run(app.button(key="run.two").click())  # a click opens, and ends the comparison
    assert app.subheader[0].value == "two" and "could be chance" not in words(app)
    assert app.query_params["run"] == "two" and "compare" not in app.query_params
    press(app, "results.delete")
    assert runs_of(here) == ["one"]
    press(app, "results.undo", name="two")
    assert runs_of(here) == ["one", "two"]
    run(app.text_input[0].set_value("nothing like it"))
    assert t("results.no_match") in words(app)


def test_a_comparison_shows_what_only_one_run_is_right_about(one_and_two):
    one, two = one_and_two
    with (two / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    right = next(row for row in rows if row["label"] == row["predicted"])
    right["predicted"] = "red" if right["label"] == "blue" else "blue"
    with (two / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for run_folder, times in ((one, 2), (two, 0)):
        record = yaml.safe_load((run_folder / "run.yaml").read_text())
        record["config"]["stages"] *= times
        (run_folder / "run.yaml").write_text(yaml.safe_dump(record))
    app = page("results", {"run": "one", "compare": "two"})
    assert t("results.only", name="one", count=1) in words(app)
    assert t("results.only", name="two", count=1) not in words(app)
    (table,) = app.table
    assert list(table.value[t("results.setting")]) == [t.option("stages", "")[0]]
    said = t("results.stage_words", stage="top 1 block", epochs=1, rate="0.0005")
    row = [cell.replace("\\", "") for cell in table.value.iloc[0]]
    assert row[1:] == [t("results.repeated", count=2, stage=said), t("results.no_stages")]


def test_runs_are_listed_by_data_set(here, one_and_two):
    record = (one_and_two[1] / "run.yaml").read_text()
    (one_and_two[1] / "run.yaml").write_text(record.replace(str(here.data / "photos"), "/else/far"))
    text = words(page("results", {"run": "one"}))
    for name in ("photos", "far"):
        assert f"**{name}** :gray[:small[· {t('results.runs', count=1)}]]" in text
    (one_and_two[1] / "run.yaml").write_text(
        record.replace(str(here.data / "photos"), "/else/photos")
    )
    text = words(page("results", {"run": "one"}))  # two data sets of one name
    for name in (f"{here.data.name}/photos", "else/photos"):
        assert f"**{name}** :gray[:small[· {t('results.runs', count=1)}]]" in text


def test_classes_and_thresholds(one_and_two):
    app = page("results", {"run": "one", "view": "classes"})
    table = app.dataframe[0].value
    assert list(table[t("data.class")]) == ["blue", "green", "red"]
    assert all(" to " in text for text in table[t("results.recall_between")])
    view(app, "threshold")
    run(app.slider[0].set_value(100))
    answered = labelled(app.metric, t("results.answered"))
    assert answered.delta.startswith(t("results.of", part="0", all="7"))
    run(app.slider[0].set_value(0))
    run(labelled(app.selectbox, t("data.class")).set_value("red"))
    answered = labelled(app.metric, t("results.answered"))
    assert answered.value == "100.0%" and len(app.get("vega_lite_chart")) == 1


def test_formats_are_made_in_the_background(here, one_and_two, monkeypatch):
    asked = []

    def run_command(progress, *arguments):
        asked.append(arguments)
        if arguments[0] == "export":
            folder = Path(arguments[1]) / "export" / arguments[2]
            folder.mkdir(parents=True)
            (folder / "model").write_bytes(b"1234")
        else:
            raise RunError("the disk is full")

    monkeypatch.setattr(run_work, "run_command", run_command)
    monkeypatch.setattr(run_work, "WORK", {})
    monkeypatch.setattr(run_work, "find_spec", lambda name: None if name == "onnx" else object())
    app = page("results", {"run": "one", "view": "export"})
    assert "pip install 'tlearn[onnx]'" in words(app)
    run(app.button(key=f"make.{export_url('one', 'openvino')}").click())
    assert asked == [("export", str(one_and_two[0]), "openvino")]
    assert (one_and_two[0] / "export/openvino/model").is_file()
    links = [button.proto.url for button in app.get("link_button")]
    assert export_url("one", "openvino") in links and report_url("one") in links
    run(app.button(key=f"make.{report_url('one')}").click())
    assert "the disk is full" in words(app)


def test_heat_maps_are_shown_where_asked_for(here, one_and_two, monkeypatch):
    near = ((here.data / "photos/red/red00.png", "red"),)

    def explained(run, photos, folder, progress):  # the first cannot be read
        return {photo: ShownExplanation(photo, near) for photo in photos[1:]}

    monkeypatch.setattr(run_work, "explain", explained)
    monkeypatch.setattr(run_work, "HEAT", {})
    app = page("results", {"run": "one", "view": "unsure"})
    run(app.toggle[0].set_value(True))
    text = words(app)
    assert text.count(t("results.nearest", names="red")) == 6  # of 7
    assert text.count("data:image/jpeg") == 6
    begun = len(run_work.HEAT)
    run(app)
    assert len(run_work.HEAT) == begun
    (here.runs / "one" / "model.keras").touch()  # another run got the name of a deleted one
    run(app)
    assert len(run_work.HEAT) == begun + 1


def test_why_there_are_no_heat_maps_is_said_before_they_are_tried_again(
    here, one_and_two, monkeypatch
):
    begun, looked = [], threading.Event()

    def fails(run, photos, folder, progress):
        begun.append(run)
        looked.wait(60)
        raise RunError("out of memory")

    monkeypatch.setattr(run_work, "explain", fails)
    monkeypatch.setattr(run_work, "HEAT", {})
    monkeypatch.setattr(scans, "AT_ONCE", 0)  # it takes longer than a page waits
    app = page("results", {"run": "one", "view": "unsure"})
    run(app.toggle[0].set_value(True))
    looked.set()
    for heat in list(run_work.HEAT.values()):
        heat.task.over.wait()
    run(app)
    assert "out of memory" in words(app) and len(begun) == 1


def test_the_address_holds_run_and_view(here, one_and_two):
    events = here.runs / "one" / "events.jsonl"
    lines = [line for line in events.read_text().splitlines() if '"epoch"' not in line]
    events.write_text("\n".join(lines))
    app = page("results", {"run": "one", "view": "settings"})
    assert app.subheader[0].value == "one" and "preset: auto" in app.get("html")[0].proto.body
    view(app, "curves")
    assert app.query_params["view"] == "curves" and t("results.no_curves") in words(app)
    events.write_text("\n".join([*lines, '{"event": "no_headroom", "error": 0.012}']))
    assert t("results.no_headroom", error="1.2%") in words(run(app))
    view(app, "confusion")
    (chart,) = app.get("vega_lite_chart")
    assert {"blue", "green", "red"} <= set(re.findall(r"\w+", chart.proto.spec))
    start = t("results.few", low="", high="").split(":")[0]
    assert start in words(app)  # seven photos
    del app.query_params["view"]  # as the browser's Back does
    assert t("results.no_mistakes") in words(run(app))


def test_photos_of_results_are_excluded_from_the_data(here, one_and_two):
    app = page("results", {"run": "one", "view": "unsure"})
    assert t("results.changes_go", data="photos") in words(app)
    assert t("data.go_train") not in dict(links(app))
    run(app.checkbox[0].check())
    press(app, "data.exclude", count=1)
    assert (t("data.go_train"), "data=photos") in links(app)
    assert any(caption.value.endswith(t("results.excluded")) for caption in app.caption)
    assert len(scan(here.data / "photos").files) == 35
    app = page("data", {"view": "tab_history"})
    run(app.checkbox[0].check())
    run(labelled(app.selectbox, t("data.move_to")).set_value("red"))
    press(app, "data.move", count=1)
    assert len(scan(here.data / "photos").files) == 36 and not app.checkbox


def test_a_button_means_the_run_that_it_was_shown_for(here, one_and_two):
    tabs = [page("results", **{"chosen.run": "one"}) for _ in range(2)]
    for tab in tabs:  # the same button in both
        run(tab.button(key="delete.one").click())
    assert runs_of(here) == ["two"]
    assert "there is no run 'one'" in tabs[1].toast[0].value.replace("\\", "")
    run(tabs[1])
    for tab in tabs:
        press(tab, "results.undo", name="one")
    assert runs_of(here) == ["one", "two"]
    assert "not among the deleted" in tabs[1].toast[0].value
    with FileLock(here.runs / "one" / ".lock"):
        (here.runs / "one" / "metrics.json").unlink()
        run(tabs[0])
        assert tabs[0].button(key="delete.one").disabled


def test_damaged_runs_are_listed_and_can_be_deleted(here, one_and_two):
    one, two = one_and_two
    (one / "metrics.json").write_text("{")
    (two / "predictions.csv").unlink()
    app = page("results", **{"chosen.run": "two"})
    assert r"predictions\.csv" in app.error[0].value
    run(app.button(key="run.one").click())
    assert r"metrics\.json of the run" in words(app)
    assert t("results.no_model", state=t("state.interrupted")) in words(app)
    press(app, "results.delete")
    assert runs_of(here) == ["two"]


def test_photos_that_were_predicted_are_removed_after_a_day(here, one_and_two, monkeypatch):
    monkeypatch.setattr("tlearn.web.prediction_process.predict", lambda *given: [])
    task, ages = background.BackgroundTask(), {"old": LIFETIME + 1, "recent": 9, "asked": 0}
    task.over.set()
    for name, age in ages.items():
        folder = draw_photos(here.scratch / name, 1)
        prediction = PredictionTask(folder, here.runs / "other", task, time.monotonic() - age)
        known(monkeypatch, prediction)
    page("predict", **{"chosen.run": "one", "chosen.photos": "asked"})
    assert TASKS.keys() == {("recent", "other"), ("asked", "other"), ("asked", "one")}
    assert {path.name for path in here.scratch.iterdir()} >= {"recent", "asked"}
    assert not (here.scratch / "old").exists()


def test_tabs_that_ask_several_runs_about_the_same_photos_are_all_answered(
    here, one_and_two, monkeypatch
):
    asked = []
    monkeypatch.setattr(
        "tlearn.web.prediction_process.predict", lambda run, *rest: asked.append(run.name) or []
    )
    task, folder = background.start(lambda progress: ([], [])), draw_photos(here.scratch / "some")
    known(monkeypatch, PredictionTask(folder, one_and_two[0], task))
    tabs = [page("predict", {"run": name, "photos": "some"}) for name in ("one", "two")]
    for tab in tabs * 2:
        run(tab)
    assert asked == ["two"] and folder.is_dir()


def test_corrections_are_added_once(here, one_and_two, monkeypatch):
    folder = draw_photos(here.scratch / "asked", 1, ("red",), seed=9)
    photo = folder / "red/red00.png"
    answer = Prediction(photo, (("blue", 0.6), ("red", 0.4)))
    task = background.start(lambda progress: ([answer], []))
    known(monkeypatch, PredictionTask(folder, one_and_two[0], task))
    app = page("predict", **{"chosen.run": "one", "chosen.photos": folder.name})
    run(labelled(app.selectbox, t("predict.wrong")).set_value("green"))
    press(app, "predict.add", count=1)
    assert t("predict.added", count=1, label="green") in words(app)
    assert (here.data / "photos/green/red00.png").read_bytes() == photo.read_bytes()
    press(app, "predict.add", count=1)
    assert "already, as green/red00.png" in app.dataframe[0].value[t("data.reason")][0]
    assert scan(here.data / "photos").counts["green"] == 13


def test_what_is_ready_says_how_good_it_is_and_can_be_tried(here, one_and_two):
    record = one_and_two[0] / "metrics.json"
    metrics = json.loads(record.read_text())
    metrics["validation"] |= {"n": 300, "accuracy": 0.9}
    record.write_text(json.dumps(metrics))
    with (one_and_two[0] / "events.jsonl").open("a") as file:
        file.write(json.dumps({"event": "finished", "time": time.time()}) + "\n")
    app = page("train")
    between = t("common.between", low="86.1%", high="92.9%")
    right = t("results.right_share", part="90.0%", right=270, all=300, between=between)
    assert t("job.ready", name="one", right=right) in words(app)
    assert {(t("job.try"), "run=one"), (t("job.results"), "run=one")} <= {*links(app)}


def test_photos_in_class_folders_are_measured(here, one_and_two, toy_run, monkeypatch):
    monkeypatch.setenv("TLEARN_CACHE", str(toy_run.cache))
    monkeypatch.setattr("tlearn.web.components.scans.AT_ONCE", 600)
    folder = draw_photos(here.scratch / "asked", 3, seed=9)
    (folder / "red").rename(folder / "purple")
    files = sorted(folder.rglob("*.png"))
    answers = [Prediction(file, (("blue", 0.6), ("red", 0.4))) for file in files]
    task = background.start(lambda progress: (answers, []))
    state = {"chosen.run": "one", "chosen.photos": folder.name}
    known(monkeypatch, PredictionTask(folder, one_and_two[0], task))
    app = page("predict", **state)
    found = TASKS[folder.name, "one"].evaluation.result
    right = t("results.right", right=round(found["accuracy"] * 6), all=6)
    assert found["n"] == 6 and f"{t('predict.accuracy')}: {right}" in words(app)
    assert t("predict.unknown_class", count=3, names="purple") in words(app)
    table = app.dataframe[0].value
    assert list(table[t("chart.true")]) == ["green"] * 3 + ["blue"] * 3 + [""] * 3
    assert "".join(table[t("predict.is_right")]) == "✗✗✗✓✓✓"

    def no_evaluation(run, folder, progress):
        raise RunError("it is a defect")

    monkeypatch.setattr("tlearn.web.prediction_process.evaluate", no_evaluation)
    known(monkeypatch, PredictionTask(folder, one_and_two[0], task))
    assert f"{t('predict.not_measured')} it is a defect" in words(page("predict", **state))


def test_what_is_unknown_is_said(here, one_and_two, tmp_path, monkeypatch):
    files = sorted(draw_photos(here.scratch / "asked", 9, ("red",), seed=9).rglob("*.png"))
    folder = files[0].parent.rename(here.scratch / "loose").resolve()
    files = [folder / file.name for file in files]
    answers = [Prediction(f, (("blue", 0.6),), unknown=k % 3 == 1) for k, f in enumerate(files)]
    shown = {}
    for count in (2, 9):
        task = background.start(lambda progress, count=count: (answers[:count], []))
        known(monkeypatch, PredictionTask(folder, one_and_two[0], task))
        shown[count] = page("predict", **{"chosen.run": "one", "chosen.photos": "loose"})
    assert words(shown[2]).count(t("live.unknown")) == 1
    said = list(shown[9].dataframe[0].value[t("data.class")])
    assert said == [t("predict.unknown", label=isolate("blue"))] * 3 + ["blue"] * 6


def test_photos_are_explained_on_demand(here, one_and_two, monkeypatch):
    folder = draw_photos(here.scratch / "asked", 1, ("red", "blue"), seed=9)
    red, blue = folder / "red/red00.png", folder / "blue/blue00.png"
    near = here.data / "photos/red/red00.png"
    asked = []

    def explain(run, photos, place, progress):
        asked.append((run, list(photos)))
        return {red: ShownExplanation(red, ((near, "a_class"),))}

    monkeypatch.setattr("tlearn.web.prediction_process.explain", explain)
    monkeypatch.setattr("tlearn.web.components.scans.AT_ONCE", 600)
    answers = [Prediction(red, (("red", 0.6),)), Prediction(blue, (), "unreadable")]
    task = background.start(lambda progress: (answers, []))
    known(monkeypatch, PredictionTask(folder, one_and_two[0], task))
    app = page("predict", **{"chosen.run": "one", "chosen.photos": folder.name})
    assert t("predict.nearest") not in words(app)
    press(app, "predict.why")
    assert asked == [(one_and_two[0], [red])]
    shown = words(app)
    assert t("predict.heat", label="red") in shown and r"a\_class" in shown
    assert labelled(app.button, t("predict.why")).disabled  # all are explained
    answers += [Prediction(blue, (("blue", 0.5),))] * MOST  # a table, of which none is selected
    press(page("predict", **{"chosen.run": "one", "chosen.photos": folder.name}), "predict.why")
    assert asked[1] == (one_and_two[0], [blue] * (MOST - 1))  # the other is explained already


def test_explanations_of_the_command_are_read(toy_run, tmp_path, monkeypatch):
    monkeypatch.setenv("TLEARN_CACHE", str(toy_run.cache))
    photos = draw_photos(tmp_path / "new", 1, ("red",), seed=9)
    photo = photos / "red/red00.png"
    found = explain(toy_run.run, [photo], tmp_path / "why")[photo]
    assert found.picture.parent == tmp_path / "why" and found.picture.is_file()
    assert len(found.neighbours) == 5
    assert all(path.parent.name == label for path, label in found.neighbours)
    with pytest.raises(RunError, match="there is no run directory"):
        explain(tmp_path / "none", [photo], tmp_path / "other")
