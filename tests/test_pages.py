"""The pages without a browser: what they show, and what their buttons do."""

import csv
import os
import re
import shutil
import sys
import time
from types import SimpleNamespace

import pytest
from conftest import draw_photos, make_run
from filelock import FileLock
from streamlit.testing.v1 import AppTest

from tlearn.data.editing import exclude
from tlearn.data.scan import scan
from tlearn.runs.directory import RunDirectory
from tlearn.runs.job_queue import JobQueue
from tlearn.runs.predictions import Prediction
from tlearn.web import background
from tlearn.web.components import scans
from tlearn.web.components.upload import PLACING
from tlearn.web.i18n import texts_for
from tlearn.web.prediction_process import LIFETIME, TASKS, PredictionTask
from tlearn.web.workspace import DATA, RUNS, Workspace

t = texts_for("en")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run on three colours, beside its photos."""
    place = tmp_path_factory.mktemp("trained")
    run, photos, _ = make_run(place, "--backbone", "toy", "--weights", "none", "--preset", "quick")
    return run, photos


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Roots of the test's own."""
    monkeypatch.setenv(DATA, str(tmp_path / "photos"))
    monkeypatch.setenv(RUNS, str(tmp_path / "runs"))
    main = sys.modules["__main__"]  # Streamlit puts the page in its place, and leaves it there
    yield Workspace.from_environment()
    sys.modules["__main__"] = main
    wait_for_tasks()


@pytest.fixture
def page(here):
    """Show a page as a browser would that was sent to it."""

    def show(name, **state):
        app = AppTest.from_function(show_page, default_timeout=60, args=(name,))
        for key, value in state.items():
            app.session_state[key] = value
        return settled(app.run())

    return show


def show_page(name):
    from tlearn.web.navigation import PAGES

    PAGES[name][0]()


def wait_for_tasks(app=None):
    """Wait for the background tasks of the server, and for the one that a page waits for."""
    tasks = [*scans._scans.values(), *(prediction.task for prediction in TASKS.values())]
    if app is not None and PLACING in app.session_state:
        tasks.append(app.session_state[PLACING])
    for task in tasks:
        task.over.wait(60)


def settled(app):
    """Wait for the work in the background, and look again: one piece may begin another."""
    for _ in range(2):
        wait_for_tasks(app)
        app = app.run()
    assert not app.exception, app.exception[0].message
    return app


def words(app):
    """Return all text that is shown."""
    kinds = ("title", "subheader", "markdown", "caption", "info", "warning", "error", "success")
    return "\n".join(element.value for kind in kinds for element in getattr(app, kind))


def button(app, label):
    return next(b for b in app.button if b.label == label)


def test_empty_pages_say_what_to_do_next(page):
    assert t("data.empty")[:14] in words(page("data"))
    assert t("train.empty") in words(page("train"))
    assert t("results.empty") in words(page("results"))
    assert t("predict.empty") in words(page("predict"))
    for name in ("data", "train", "predict"):
        app = page(name)
        assert f":green-badge[{t(f'common.step_{name}')}]" in re.sub(r"\[\d ", "[", words(app))
    assert button(app, t("results.go_train"))


def test_a_sample_is_one_click_away(page, here):
    app = page("data")
    button(app, t("data.sample")).click().run()
    app = settled(app)
    assert "Photos: **360** · classes: **6**" in words(app).splitlines()
    assert (here.data / "sample").is_dir()


def undo(app):
    return next(b for b in app.button if b.label.startswith(t("data.undo", what="")))


def test_problems_are_shown_and_excluded(page, here):
    draw_photos(here.data / "colours")
    (here.data / "colours" / "red" / "bad.jpg").write_bytes(b"\xff\xd8\xffno")
    app = page("data")
    assert "Photos: **36** · classes: **3** · files that need a look: **1**" in words(app)
    app = settled(app.button_group[0].set_value("tab_problems").run())
    button(app, t("data.exclude_all", count=1)).click().run()
    app = settled(app)
    assert "need a look" not in words(app)
    undo(app).click().run()
    app = settled(app)
    assert "look: **1**" in words(app)
    assert (here.data / "colours" / "red" / "bad.jpg").is_file()


def test_a_class_is_renamed_and_merged(page, here):
    draw_photos(here.data / "colours")
    app = page("data")
    button(app, t("data.open")).click().run()  # blue, the first
    app = settled(app)
    assert "blue" in words(app)
    next(i for i in app.text_input if i.label == t("data.new_name")).set_value("azul").run()
    [b for b in app.button if b.label == t("data.rename")][-1].click().run()
    app = settled(app)
    assert "azul" in words(app)
    [b for b in app.button if b.label == t("data.merge")][-1].click().run()
    app = settled(app)
    assert scan(here.data / "colours").counts == {"green": 24, "red": 12}
    assert undo(app).label == t("data.undo", what=t("data.did_rename", label="azul", to="green"))
    assert len(list((here.data / "colours" / "blue").iterdir())) == 12
    app = settled(app.button_group[0].set_value("tab_history").run())
    assert list(app.dataframe[0].value[t("data.change")]) == [
        t("data.did_rename", label="azul", to="green"),
        t("data.did_rename", label="blue", to="azul"),
    ]


def test_what_is_selected_stays_over_pages_and_is_moved_and_excluded(page, here):
    draw_photos(here.data / "colours", 30)
    app = page("data")
    button(app, t("data.open")).click().run()
    app = settled(app)
    assert len(app.checkbox) == 24 and button(app, t("data.exclude_none")).disabled
    app.checkbox[0].check().run()
    app.pagination[0].set_value(2).run()
    app.checkbox[5].check().run()
    app.pagination[0].set_value(1).run()
    assert app.checkbox[0].value and not app.checkbox[1].value
    next(s for s in app.selectbox if s.label == t("data.move_to")).set_value("red").run()
    button(app, t("data.move", count=2)).click().run()
    app = settled(app)
    assert scan(here.data / "colours").counts == {"blue": 28, "green": 30, "red": 32}
    button(app, t("data.select_all", count=28)).click().run()
    button(app, t("data.exclude", count=28)).click().run()
    app = settled(app)
    assert scan(here.data / "colours").counts == {"green": 30, "red": 32}


def test_a_pager_shows_the_last_page_where_its_own_has_gone():
    def listing():
        import streamlit

        from tlearn.web.components.session import pages_of

        indices = pages_of("pager", streamlit.session_state.get("count", 50), 10)
        streamlit.text(f"{indices[0]} to {indices[-1]}")

    app = AppTest.from_function(listing).run()
    app.pagination[0].set_value(5).run()
    assert app.text[0].value == "40 to 49"
    app.session_state["count"] = 25
    assert app.run().text[0].value == "20 to 24"


def test_edits_made_elsewhere_are_seen_on_the_next_visit(page, here):
    data = draw_photos(here.data / "colours")
    assert "Photos: **36**" in words(page("data", visit=1))
    exclude(data, ["red/red00.png"])
    assert "Photos: **35**" in words(page("data", visit=2))


def test_a_scan_that_was_replaced_is_begun_again(page, here):
    folder = draw_photos(here.data / "colours")
    page("data")
    scans._scans[folder] = background.BackgroundTask(replaced=True)
    scans._scans[folder].over.set()
    assert t("data.counts", photos=36, classes=3, problems=0) in words(page("data"))


def test_too_few_photos_are_said(page, here):
    draw_photos(here.data / "one", classes=("red",))
    draw_photos(here.data / "two", 9, classes=("blue", "red"))
    assert t("data.one_class") in words(page("data", **{"chosen.data": "one"}))
    warning = t("data.small_classes", count=2, few=10, names="blue, red")
    assert warning in words(page("data", **{"chosen.data": "two"}))


def opened(page, here, count=12):
    """Return the page of the first class, blue, of a data set."""
    draw_photos(here.data / "colours", count)
    app = page("data")
    return settled(button(app, t("data.open")).click().run())


def test_photos_of_the_camera_are_added_under_a_name_of_our_own(page, here, tmp_path, monkeypatch):
    one = draw_photos(tmp_path / "more", 1, seed=1) / "blue" / "blue00.png"
    taken = SimpleNamespace(name="../../../red/red00.png", getvalue=one.read_bytes)

    def camera_input(label, key, on_change, args):
        if key == "camera.0":  # as if the visitor cleared a photo that failed, and took another
            import streamlit

            for photo in (None, taken):
                streamlit.session_state[key] = photo
                on_change(*args)

    monkeypatch.setattr("streamlit.camera_input", camera_input)
    app = opened(page, here)
    red = (here.data / "colours" / "red" / "red00.png").read_bytes()
    app = settled(button(app, t("data.camera")).click().run())
    assert t("data.camera_taken", count=1) in words(app)
    assert scan(here.data / "colours").counts == {"blue": 13, "green": 12, "red": 12}
    (new,) = (here.data / "colours").rglob("camera-*.jpg")
    assert new.parent.name == "blue" and new.read_bytes() == one.read_bytes()
    assert (here.data / "colours" / "red" / "red00.png").read_bytes() == red


def test_what_cannot_be_added_to_a_class_is_said_and_the_rest_is_added(
    page, here, tmp_path, monkeypatch
):
    more = draw_photos(tmp_path / "more", 2, classes=("blue",), seed=1) / "blue"
    whole = (more / "blue00.png").read_bytes()
    (more / "blue00.png").write_bytes(whole[: len(whole) // 2])  # the first of the two
    app = opened(page, here)
    upload = SimpleNamespace(
        unpack=lambda: None,
        images=lambda: sorted(more.iterdir()),
        report=[],
        cancel=lambda: shutil.rmtree(more),
    )
    coming = [upload]
    monkeypatch.setattr(
        "tlearn.web.components.upload.uploader",
        lambda data, key, **options: coming.pop() if coming and key[:6] == "class." else None,
    )
    app = settled(app.run())
    assert t("data.left_out", count=1) in words(app) and "blue00" in words(app)
    app.button(key="data.dismiss").click().run()
    assert t("data.left_out", count=1) not in words(app)
    app = settled(app.button_group[0].set_value("tab_problems").run())
    assert "blue00.png" in [name for d in app.dataframe for name in d.value.get(t("data.file"), ())]
    assert scan(here.data / "colours").counts == {"blue": 13, "green": 12, "red": 12}
    assert not more.exists()


def test_a_wrong_name_is_told(page, here):
    draw_photos(here.data / "colours")
    app = page("data")
    button(app, t("data.open")).click().run()
    next(i for i in app.text_input if i.label == t("data.new_name")).set_value("a/b").run()
    [b for b in app.button if b.label == t("data.rename")][-1].click().run()
    assert "a/b" in app.error[0].value
    assert (here.data / "colours" / "blue").is_dir()


def test_a_folder_without_photos_is_told(page, here):
    (here.data / "empty" / "a").mkdir(parents=True)
    app = page("data")
    assert "no images below" in words(app)
    assert "no images below" in words(page("train"))


def test_a_training_is_asked_for_as_it_was_entered(page, here, monkeypatch):
    draw_photos(here.data / "colours")
    monkeypatch.setattr(JobQueue, "wake", lambda self: None)
    monkeypatch.setattr("tlearn.web.planner.Planner.ask", lambda *arguments: None)
    app = page("train", **{"train.backbone": "toy"})
    assert "toy" in words(app)
    app.radio[0].set_value("quick").run()
    app.text_input(key="option.weights").set_value("none").run()
    app.number_input(key="option.head.dropout").set_value(0.4).run()
    assert "--backbone toy" in app.code[0].value and "head.dropout=0.4" in app.code[0].value
    button(app, t("train.start")).click().run()
    (job,) = here.queue.jobs()
    assert (job.path, job.state) == (here.runs / "colours", "queued")
    request = RunDirectory(job.path).request()
    assert request.data == here.data / "colours"
    assert request.config.model_dump(exclude_unset=True) == {
        "weights": "none",
        "head": {"dropout": 0.4},
        "preset": "quick",
        "backbone": "toy",
    }
    app = settled(app)
    assert f"colours** · {t('state.queued')}" in words(app)
    button(app, t("train.start")).click().run()  # once more, while the first waits
    assert [job.name for job in here.queue.jobs()] == ["colours", "colours-2"]
    app = settled(app)
    app.button(key="stop.colours").click().run()
    assert [job.name for job in here.queue.jobs()] == ["colours-2"]
    app = settled(app)
    assert f"colours · {t('state.stopped_empty')}" in words(app)
    app.button(key="resume.colours").click().run()
    assert [job.name for job in here.queue.jobs()] == ["colours-2", "colours"]


def test_what_was_chosen_is_still_there_after_a_look_at_another_page(here, monkeypatch):
    draw_photos(here.data / "colours")
    monkeypatch.setattr("tlearn.web.planner.Planner.ask", lambda *arguments: None)
    app = AppTest.from_function(show_chosen_page, default_timeout=60)
    app.session_state["test.page"] = "train"
    app = settled(app.run())
    assert app.radio[0].proto.default == 1  # also where the browser was told nothing more
    app.radio[0].set_value("best").run()
    app.number_input(key="option.test").set_value(0.2).run()
    app.text_input(key="option.weights").set_value("none").run()
    for page in ("data", "train"):
        app.session_state["test.page"] = page
        app = settled(app.run())
    assert app.radio[0].value == "best" and not app.warning
    assert app.number_input(key="option.test").value == 0.2
    assert not app.number_input(key="option.test").proto.HasField("default")  # can be emptied
    assert "--test 0.2" in app.code[0].value and "--weights none" in app.code[0].value


def test_the_sliders_of_the_split_set_that_of_the_training(here, monkeypatch):
    draw_photos(here.data / "colours")
    monkeypatch.setattr("tlearn.web.planner.Planner.ask", lambda *arguments: None)
    app = AppTest.from_function(show_chosen_page, default_timeout=60)
    app.session_state["test.page"] = "train"
    app = settled(app.run())
    app.number_input(key="option.test").set_value(0.1).run()
    app.session_state["test.page"] = "data"
    app = settled(app.run())
    app = settled(app.button_group[0].set_value("tab_split").run())
    assert [slider.value for slider in app.slider] == [20, 10]
    app.slider[0].set_value(25).run()
    assert app.dataframe[0].value[t("data.validation")].sum() == 9
    app.session_state["test.page"] = "train"
    app = settled(app.run())
    assert "--val 0.25 --test 0.1" in app.code[0].value


def show_chosen_page():
    import streamlit

    from tlearn.web.navigation import PAGES

    PAGES[streamlit.session_state["test.page"]][0]()


def test_a_value_that_is_not_allowed_is_told(page, here, monkeypatch):
    draw_photos(here.data / "colours")
    monkeypatch.setattr("tlearn.web.planner.Planner.ask", lambda *arguments: None)
    app = page("train", **{"train.backbone": "toy"})
    app.text_input(key="option.views").set_value("many").run()
    assert "views" in app.error[0].value and button(app, t("train.start")).disabled
    app.text_input(key="option.views").set_value("").run()
    app.number_input(key="option.head.dropout").set_value(2.0).run()
    assert "dropout" in app.error[0].value and button(app, t("train.start")).disabled
    app.number_input(key="option.head.dropout").set_value(0.1).run()
    for kind, key, value, default in [
        ("text", "group", "(", ""),
        ("text", "weights", "nowhere", ""),
        ("number", "size", 7, None),
        ("number", "seed", float("9" * 20), None),
        ("text", "head.hidden", "[99999999]", ""),
    ]:
        field = getattr(app, f"{kind}_input")
        field(key=f"option.{key}").set_value(value).run()
        (error,) = app.error
        assert key == "weights" or error.value.replace("\\", "").startswith(key)
        assert button(app, t("train.start")).disabled
        field(key=f"option.{key}").set_value(default).run()
    assert not app.error and not button(app, t("train.start")).disabled


def test_what_a_training_takes_is_said_and_whether_that_is_sure(page, here, monkeypatch):
    draw_photos(here.data / "colours")
    row = {"seconds": 70, "parameters": 4e6, "bytes": 1e6, "problem": "", "sure": False}
    monkeypatch.setattr("tlearn.web.planner.Planner.known", lambda *arguments: {"toy": row})
    app = page("train", **{"train.backbone": "toy"})
    unsure = f"**{t('train.about', time='70 s')}** ({t('train.unsure')})"
    assert all(caption.startswith(unsure) for caption in app.radio[0].proto.captions)
    assert unsure in words(app)


def test_what_cannot_be_trained_on_is_told_before_it_starts(page, here, monkeypatch):
    draw_photos(here.data / "colours", classes=("blue",))
    monkeypatch.setattr("tlearn.web.planner.Planner.ask", lambda *arguments: None)
    app = page("train")
    assert "only one class" in app.error[0].value and button(app, t("train.start")).disabled


@pytest.mark.parametrize("name", ["a/b", ".hidden", "CON", "..", "taken"])
def test_a_run_cannot_be_called_anything(page, here, monkeypatch, name):
    draw_photos(here.data / "colours")
    (here.runs / "taken").mkdir(parents=True)
    monkeypatch.setattr("tlearn.web.planner.Planner.ask", lambda *arguments: None)
    app = page("train", **{"train.backbone": "toy"})
    next(i for i in app.text_input if i.label == t("train.name")).set_value(name).run()
    button(app, t("train.start")).click().run()
    assert "choose another name" in app.error[0].value and not here.queue.jobs()


def test_results_of_a_run(page, here, trained):
    run, _ = trained
    shutil.copytree(run, here.runs / "one")
    shutil.copytree(run, here.runs / "two")
    app = page("results", **{"chosen.run": "one"})
    assert {metric.label for metric in app.metric} >= {
        f"{t('results.accuracy')} ({t('data.validation')})",
        t("results.macro_f1"),
    }
    app.text_area[0].set_value("a note").run()
    button(app, t("results.keep_note")).click().run()
    assert (here.runs / "one" / "note.txt").read_text() == "a note\n"
    app.checkbox(key="tick.one").check()
    app.checkbox(key="tick.two").check().run()  # before the page has shown the first tick
    assert "could be chance" in words(app)
    app.button(key="run.two").click().run()  # a click chooses, and ends the comparison
    assert app.subheader[0].value == "two" and "could be chance" not in words(app)
    assert app.query_params["run"] == "two" and not app.checkbox(key="tick.one").value
    app = page("results", **{"chosen.run": "one"})
    button(app, t("results.delete")).click().run()
    assert not (here.runs / "one").exists()
    app = settled(app)
    button(app, t("results.undo", name="one")).click().run()
    assert (here.runs / "one").is_dir()
    app.text_input[0].set_value("nothing like it").run()
    assert t("results.no_match") in words(app)


def test_a_comparison_shows_what_only_one_run_is_right_about(page, here, run_here):
    shutil.copytree(run_here, here.runs / "two")
    table = here.runs / "two" / "predictions.csv"
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    right = next(row for row in rows if row["label"] == row["predicted"])
    right["predicted"] = "red" if right["label"] == "blue" else "blue"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    record = (here.runs / "two" / "run.yaml").read_text()
    stages = "stages: [{unfreeze: top, epochs: 3, learning_rate: 0.01}]"
    (here.runs / "two" / "run.yaml").write_text(record.replace("stages: []", stages))
    app = page("results")
    for name in ("one", "two"):
        app.checkbox(key=f"tick.{name}").check().run()
    assert t("results.only", name="one", count=1) in words(app)
    assert t("results.only", name="two", count=1) not in words(app)
    (table,) = app.dataframe
    assert list(table.value[t("results.setting")]) == [t.option("stages", "")[0]]
    said = t("results.stage_words", stage="from top", epochs=3, rate="0.01")
    assert list(table.value.iloc[0])[1:] == [t("results.no_stages"), said]


def test_the_address_holds_run_and_view(page, here, trained):
    for name in ("one", "two"):
        shutil.copytree(trained[0], here.runs / name)
    app = AppTest.from_function(show_page, default_timeout=60, args=("results",))
    app.query_params.update(run="one", view="settings")
    app = settled(app.run())
    assert app.subheader[0].value == "one" and "preset: quick" in app.code[0].value
    app.button_group[0].set_value("curves").run()
    assert app.query_params["view"] == "curves" and t("results.no_curves") in words(app)


def test_confusions_are_shown_as_a_chart(page, here, trained):
    shutil.copytree(trained[0], here.runs / "one")
    app = page("results", **{"chosen.run": "one", "results.view": "confusion"})
    (chart,) = app.get("vega_lite_chart")
    assert {"blue", "green", "red"} <= set(re.findall(r"\w+", chart.proto.spec))
    start = t("results.few", low="", high="").split(":")[0]
    assert start in words(app)  # seven photos


@pytest.fixture
def run_here(here, trained):
    """A run whose photos are in the data root."""
    run, photos = here.runs / "one", here.data / "photos"
    shutil.copytree(trained[0], run)
    shutil.copytree(trained[1], photos)
    record = (run / "run.yaml").read_text()
    (run / "run.yaml").write_text(record.replace(str(trained[1]), str(photos)))
    return run


def test_photos_of_results_are_excluded_from_the_data(page, here, run_here):
    app = page("results", **{"chosen.run": "one", "results.view": "unsure"})
    next(c for c in app.checkbox if c.key != "tick.one").check().run()
    button(app, t("data.exclude", count=1)).click().run()
    app = settled(app)
    assert any(caption.value.endswith(t("results.excluded")) for caption in app.caption)
    assert len(scan(here.data / "photos").files) == 35
    app = page("data", **{"data.view": "tab_history"})
    app.checkbox[0].check().run()
    next(s for s in app.selectbox if s.label == t("data.move_to")).set_value("red").run()
    button(app, t("data.move", count=1)).click().run()
    app = settled(app)
    assert len(scan(here.data / "photos").files) == 36 and not app.checkbox


def test_photos_that_were_predicted_are_removed_after_a_day(page, here, run_here, monkeypatch):
    monkeypatch.setattr("tlearn.web.prediction_process.predict", lambda *given: [])
    task, ages = background.BackgroundTask(), {"old": LIFETIME + 1, "recent": 9, "asked": 0}
    task.over.set()
    for name, age in ages.items():
        folder = draw_photos(here.scratch / name, 1)
        prediction = PredictionTask(folder, here.runs / "other", task, time.monotonic() - age)
        monkeypatch.setitem(TASKS, name, prediction)
    page("predict", **{"chosen.run": "one", "chosen.photos": "asked"})
    assert TASKS.keys() == {"recent", "asked"}
    assert {path.name for path in here.scratch.iterdir()} >= {"recent", "asked"}
    assert not (here.scratch / "old").exists()


def test_corrections_are_added_once(page, here, run_here, monkeypatch):
    folder = draw_photos(here.scratch / "asked", 1, ("red",), seed=9)
    photo = folder / "red/red00.png"
    answer = Prediction(photo, (("blue", 0.6), ("red", 0.4)))
    task = background.start(lambda progress: ([answer], []))
    monkeypatch.setitem(TASKS, folder.name, PredictionTask(folder, run_here, task))
    app = page("predict", **{"chosen.run": "one", "chosen.photos": folder.name})
    right = next(s for s in app.selectbox if s.label == t("predict.wrong"))
    right.set_value("green").run()
    button(app, t("predict.add", count=1)).click().run()
    assert t("predict.added", count=1, label="green") in words(app)
    assert (here.data / "photos/green/red00.png").read_bytes() == photo.read_bytes()
    button(app, t("predict.add", count=1)).click().run()
    assert "already, as green/red00.png" in app.dataframe[0].value[t("data.reason")][0]
    assert scan(here.data / "photos").counts["green"] == 13


def test_a_button_means_the_run_that_it_was_shown_for(page, here, trained):
    for name in ("one", "two"):
        shutil.copytree(trained[0], here.runs / name)
    tabs = [page("results", **{"chosen.run": "one"}) for _ in range(2)]
    for tab in tabs:  # the same button in both
        tab.button(key="delete.one").click().run()
    assert sorted(path.name for path in here.runs.iterdir() if path.name[0] != ".") == ["two"]
    assert "there is no run 'one'" in tabs[1].toast[0].value.replace("\\", "")
    tabs = [page("results") for _ in range(2)]
    for tab in tabs:
        button(tab, t("results.undo", name="one")).click().run()
    assert sorted(path.name for path in here.runs.iterdir() if path.name[0] != ".") == [
        "one",
        "two",
    ]
    assert "not among the deleted" in tabs[1].toast[0].value
    page("results", **{"chosen.run": "two"}).button(key="delete.two").click().run()
    with FileLock(here.runs / "one" / ".lock"):
        (here.runs / "one" / "metrics.json").unlink()
        app = page("results", **{"chosen.run": "one"})
        assert app.button(key="delete.one").disabled


def test_a_damaged_run_is_listed_and_can_be_deleted(page, here, trained):
    shutil.copytree(trained[0], here.runs / "one")
    (here.runs / "one" / "metrics.json").write_text("{")
    app = page("results", **{"chosen.run": "one"})
    assert r"metrics\.json of the run" in words(app)
    assert t("results.no_model", state=t("state.interrupted")) in words(app)
    button(app, t("results.delete")).click().run()
    assert not (here.runs / "one").exists()


def test_a_run_with_a_missing_file_is_told(page, here, trained):
    shutil.copytree(trained[0], here.runs / "one")
    (here.runs / "one" / "predictions.csv").unlink()
    app = page("results", **{"chosen.run": "one"})
    assert r"predictions\.csv" in app.error[0].value


def test_plugins_are_listed(page):
    app = page("plugins")
    assert t("plugins.title") in words(app) and not app.error
    names = set(app.dataframe[0].value[t("plugins.plugin")])
    assert names >= {"toy", "vgg19", "presets", "exporters"}


def test_a_plugin_that_failed_says_why(page, plugin_file):
    plugin_file("mine", "import nothing_of_this_name")
    assert "nothing\\_of\\_this\\_name" in page("plugins").error[0].value


def test_a_defect_is_told_as_one_and_logged(here, caplog):
    def broken():
        from tlearn.web.server import on_error

        on_error(ValueError("a defect"))

    app = AppTest.from_function(broken).run()
    assert str(here.log) in app.error[0].value and not app.exception
    assert "ValueError: a defect" in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="names of other systems")
def test_names_that_hold_markup_are_shown_as_they_are(page, here):
    draw_photos(here.data / "colours")
    (here.data / "colours" / "blue").rename(here.data / "colours" / "**[x](y)** :red[z]")
    shown = words(page("data"))
    assert r"\*\*\[x\]\(y\)\*\* \:red\[z\]" in shown
