"""The pages without a browser: what they show, and what their buttons do."""

import os
import re
import threading

import pytest
from conftest import draw_photos
from pages import comes, follow, labelled, links, page, press, run, source, t, view, words
from streamlit.testing.v1 import AppTest
from test_uploads import photo, send, zipped

from tlearn.backbones.plugin_sources import DISABLED
from tlearn.data.editing import exclude
from tlearn.data.scan import scan
from tlearn.data.uploads import Upload
from tlearn.runs.directory import RunDirectory
from tlearn.web import background, data_work
from tlearn.web.components import scans
from tlearn.web.linked_folders import ALLOWED

OPEN_FOLDS = {"train.more": True, "train.command": True}
PACKED = """
from dataclasses import replace
from tlearn.backbones import Weights, hookimpl
from tlearn_toy import BACKBONE

@hookimpl
def tlearn_backbones():
    facts = {"file": "w.pth", "package": "no-such-weights", "sha256": "00"}
    weights = (Weights("w", "x", "MIT", "y", **facts),)
    return replace(BACKBONE, name="packed", weights=weights, workload=None)
"""


def test_empty_pages_say_what_to_do_next(here):
    pages = {name: page(name) for name in ("data", "train", "results", "predict")}
    assert t("common.purpose") in words(pages["data"])
    assert t("data.from_classes_hint") in words(pages["data"])
    for name in ("train", "results", "predict"):
        assert t(f"{name}.empty") in words(pages[name])
    for name in ("train", "predict"):
        step = f":green-badge[{t(f'common.step_{name}')}]"
        assert step in re.sub(r"\[\d ", "[", words(pages[name]))
    assert t("results.go_train") in dict(links(pages["predict"]))


def test_a_sample_is_one_click_away(here):
    app = press(source(page("data"), "from_sample"), "data.sample")
    assert "Photos: **240** · classes: **6**" in words(app).splitlines()
    assert (here.data / "sample").is_dir()


def test_a_folder_of_this_machine_is_shown_and_the_fold_is_closed(here, tmp_path, monkeypatch):
    monkeypatch.setenv(ALLOWED, "1")
    draw_photos(here.data / "colours")
    app = page("data")
    before = app.expander[0].key
    source(app, "from_folder")
    labelled(app.text_input, t("data.folder")).set_value(str(draw_photos(tmp_path / "mine")))
    press(app, "data.link")
    assert app.query_params["data"] == "mine" and app.expander[0].key != before  # a new one


def test_work_in_the_background_is_shown_until_it_is_over(here, monkeypatch):
    draw_photos(here.data / "colours")
    going = threading.Event()

    def slow_scan(*arguments, **options):
        assert going.wait(60)
        return scan(*arguments, **options)

    monkeypatch.setattr(data_work, "scan", slow_scan)
    with monkeypatch.context() as patch:
        patch.setattr(scans, "AT_ONCE", 0)
        app = page("data")
    (bar,) = app.get("progress")
    assert bar.proto.text == t("common.reading") and "Photos: **36**" not in words(app)
    going.set()
    assert "Photos: **36**" in words(run(app))
    going.clear()
    with monkeypatch.context() as patch:
        patch.setattr(scans, "SOON", 0)
        app = page("data", visit=2)  # what the scan before found is shown meanwhile
    assert "Photos: **36**" in words(app) and not app.get("progress")
    going.set()


def test_problems_are_shown_and_excluded(here):
    draw_photos(here.data / "colours")
    (here.data / "colours" / "red" / "bad.jpg").write_bytes(b"\xff\xd8\xffno")
    app = page("data")
    assert "Photos: **36** · classes: **3** · files that need a look: **1**" in words(app)
    press(view(app, "tab_problems"), "data.exclude_all", count=1)
    assert "need a look" not in words(app)
    press(app, "data.undo", what="")
    assert "look: **1**" in words(app)
    assert (here.data / "colours" / "red" / "bad.jpg").is_file()


def merge_popover(app):
    blocks = [block.proto for block in app.get("popover")]
    return next(each.id for each in blocks if each.popover.label == t("data.merge"))


def test_a_class_is_renamed_and_merged(here):
    draw_photos(here.data / "colours")
    app = press(page("data", {"class": "blue"}), "data.all_classes")
    run(app.button(key="open.blue").click())
    labelled(app.text_input, t("data.new_name")).set_value("a\\b")
    press(app, "data.rename")
    assert "without backslashes" in app.error[0].value
    labelled(app.text_input, t("data.new_name")).set_value("azul")
    press(app, "data.rename")
    assert "azul" in words(app)
    before = merge_popover(app)
    press(app, "data.merge")
    assert scan(here.data / "colours").counts == {"green": 24, "red": 12}
    assert merge_popover(app) != before  # another one, and closed
    merged = t("data.did_rename", label="azul", to="green")
    assert labelled(app.button, t("data.undo", what=merged))
    assert len(list((here.data / "colours" / "blue").iterdir())) == 12
    view(app, "tab_history")
    changes = [merged, t("data.did_rename", label="blue", to="azul")]
    assert list(app.dataframe[0].value[t("data.change")]) == changes


def test_what_is_selected_stays_over_pages_and_is_moved_and_excluded(here):
    draw_photos(here.data / "colours", 30)
    app = page("data", {"class": "blue"})
    assert len(app.checkbox) == 12 and labelled(app.button, t("data.exclude_none")).disabled
    run(app.checkbox[0].check())
    run(app.pagination[0].set_value(2))
    run(app.checkbox[5].check())
    run(app.pagination[0].set_value(1))
    assert app.checkbox[0].value and not app.checkbox[1].value
    run(labelled(app.selectbox, t("data.move_to")).set_value("red"))
    press(app, "data.move", count=2)
    assert scan(here.data / "colours").counts == {"blue": 28, "green": 30, "red": 32}
    press(app, "data.select_all", count=28)
    press(app, "data.group", count=28)
    groups = {file.group for file in scan(here.data / "colours").files if file.label == "blue"}
    assert len(groups) == 1 and "" not in groups
    press(app, "data.select_all", count=28)
    press(app, "data.exclude", count=28)
    assert scan(here.data / "colours").counts == {"green": 30, "red": 32}


def test_a_pager_shows_the_last_page_where_its_own_has_gone(here):
    def listing():
        import streamlit

        from tlearn.web.components.session import pages_of

        indices = pages_of("pager", streamlit.session_state.get("count", 50), 10)
        streamlit.text(f"{indices[0]} to {indices[-1]}")

    app = run(AppTest.from_function(listing))
    run(app.pagination[0].set_value(5))
    assert app.text[0].value == "40 to 49"
    app.session_state["count"] = 25
    assert run(app).text[0].value == "20 to 24"


def test_what_was_done_elsewhere_is_seen(here):
    data = draw_photos(here.data / "colours")
    app = page("data", {"data": "gone"}, visit=1)
    assert t("common.not_there", name="gone") in words(app) and "Photos: **36**" in words(app)
    assert app.query_params["data"] == "colours"
    exclude(data, ["red/red00.png"])
    assert "Photos: **35**" in words(follow(app, "data", visit=2))
    scans._scans[data] = background.BackgroundTask(replaced=True)  # by another session
    scans._scans[data].over.set()
    assert "Photos: **35**" in words(run(app))


def test_too_few_photos_are_said(here):
    draw_photos(here.data / "one", classes=("red",))
    draw_photos(here.data / "two", 9, classes=("blue", "red"))
    app = page("data", **{"chosen.data": "one"})
    assert t("data.one_class") in words(app)
    run(labelled(app.selectbox, t("common.data")).set_value("two"))
    assert t("data.small_classes", count=2, few=10, names="blue, red") in words(app)


def test_a_data_set_is_made_of_classes_that_are_named_here(here):
    app = page("data")
    assert t("common.purpose") in words(app)
    run(app.text_input(key="new.class.0").set_value("猫"))
    run(app.text_input(key="new.class.1").set_value("a\\b"))  # another field comes with it
    app.text_input(key="new.class.2").set_value("cup")
    press(app, "data.make_classes")
    assert "without backslashes" in app.error[0].value and not here.data_sets()
    app.text_input(key="new.class.1").set_value("dog")
    press(app, "data.make_classes")
    name = t("data.default_name")
    assert here.data_sets() == [name]
    assert {path.name for path in (here.data / name).iterdir()} == {"猫", "dog", "cup"}
    assert t("data.small_classes", count=3, few=10, names="cup, dog, 猫") in words(app)
    for other in ("train", "data"):
        assert (t("data.no_photos_yet") in words(follow(app, other))) is (other == "train")
    assert "holds no photos yet" in words(view(app, "tab_split"))
    view(app, "tab_classes")
    app.text_input(key="new_class.name.0").set_value("dog")
    run(app.button(key="new_class.add").click())
    assert "there is a class 'dog' already" in app.error[0].value.replace("\\", "")
    app.text_input(key="new_class.name.0").set_value("pen")
    run(app.button(key="new_class.add").click())
    assert (here.data / name / "pen").is_dir() and "pen" in words(app)
    run(app.button(key="remove.pen").click())
    assert not (here.data / name / "pen").exists() and "pen" not in words(app)


def test_photos_are_added_to_a_class_and_what_cannot_be_is_kept_with_the_data(
    here, tmp_path, monkeypatch
):
    data = draw_photos(here.data / "colours")
    uploads = [Upload(here.data), Upload(here.data)]
    good = photo(77)
    send(uploads[0], "../../../red/red00.png", good)  # as a hostile browser would call it
    send(uploads[0], "camera-1.jpg", good)
    send(uploads[1], "new.png", photo(78))
    send(uploads[1], "half.png", photo(79)[:400])
    send(uploads[1], "notes.txt", b"words")
    comes(monkeypatch, camera=uploads[:1], uploader=uploads[1:])
    app = page("data")
    run(app.button(key="add.blue").click())
    assert t("data.added", label="blue", count=2) in words(app)
    assert scan(data).counts == {"blue": 14, "green": 12, "red": 12}
    assert [path.name for path in data.rglob("camera-*")] == ["camera-1.jpg"]
    assert not any(upload.is_open for upload in uploads)
    assert t("data.left_out", count=3) in words(app)
    app = page("data")  # another visit
    assert t("data.left_out", count=3) in words(app)
    view(app, "tab_problems")
    listed = {name for table in app.dataframe for name in table.value.get(t("data.file"), ())}
    assert listed >= {"half.png", "notes.txt", "../../../red/red00.png"}
    run(app.button(key="data.dismiss").click())
    assert t("data.left_out", count=3) not in words(page("data"))


def test_photos_come_with_a_table(here, monkeypatch):
    """What cannot be read as a data set is told and not kept."""
    coming = []
    monkeypatch.setattr(
        "tlearn.web.components.new_data_set.uploader",
        lambda root, key: coming.pop() if coming else None,
    )
    photos = [*((f"{i}.png", photo(i)) for i in range(4)), ("bad.png", b"words")]
    wrong, right = b"id,label\n0,a\n9,b\n", b"id,label\n0,a\n1,b\n2,b\nbad,b\n"
    for table, said in ((wrong, "but 1 of them cannot be found"), (right, None)):
        upload = Upload(here.data, tables=True)
        send(upload, "set.zip", zipped([("labels.csv", table), *photos]))
        coming.append(upload)
        app = page("data", **{"new.source": "from_upload"})
        if said:
            assert said in words(app) and not here.data_sets()
            assert "'set/labels" in words(app)  # not where it was for a moment
    (name,) = here.data_sets()
    assert scan(here.data / name).counts == {"a": 1, "b": 2}
    assert t("data.counts", photos=3, classes=2) in words(app)


def test_loose_photos_are_sorted_into_classes(here, monkeypatch):
    """Without a folder they are of one class; beside class folders they are in none."""
    coming = [Upload(here.data)]
    for i in range(3):
        send(coming[0], f"{i}.png", photo(i))
    monkeypatch.setattr(
        "tlearn.web.components.new_data_set.uploader",
        lambda root, key: coming.pop() if coming else None,
    )
    app = page("data", **{"new.source": "from_upload"})
    (name,) = here.data_sets()
    assert scan(here.data / name).counts == {t("data.unsorted"): 3}
    assert t("data.one_class") in words(app)
    data = draw_photos(here.data / "colours")
    (data / "loose.png").write_bytes(photo(9))
    app = page("data", {"data": "colours"})
    assert t("data.outside_classes", count=1) in words(app)
    press(app, "data.sort_them")
    run(app.checkbox[0].check())
    run(labelled(app.selectbox, t("data.move_to")).set_value("red"))
    press(app, "data.move", count=1)
    assert scan(data).counts == {"blue": 12, "green": 12, "red": 13}
    assert t("data.outside_classes", count=1) not in words(app)


def test_a_folder_without_photos_is_told(here):
    (here.data / "empty" / "a").mkdir(parents=True)
    (here.data / "empty" / "a" / "notes.txt").write_text("words")
    app = page("data")
    assert "no images below" in words(app)
    assert "no images below" in words(follow(app, "train"))


def test_a_training_is_asked_for_as_it_was_entered(here):
    draw_photos(here.data / "colours")
    app = page("train", **{"train.backbone": "toy"}, **OPEN_FOLDS)
    assert "toy" in words(app)
    app.radio[0].set_value("quick")
    app.text_input(key="option.weights").set_value("none")
    app.text_input(key="option.tensorboard").set_value("logs")
    run(app.number_input(key="option.head.dropout").set_value(0.4))
    assert "--backbone toy" in app.code[0].value and "head.dropout=0.4" in app.code[0].value
    press(app, "train.start")
    (job,) = here.queue.jobs()
    assert (job.path, job.state) == (here.runs / "colours", "queued")
    request = RunDirectory(job.path).request()
    assert request.data == here.data / "colours"
    assert request.config.model_dump(exclude_unset=True) == {
        "weights": "none",
        "head": {"dropout": 0.4},
        "tensorboard": str(here.runs / "logs"),
        "preset": "quick",
        "backbone": "toy",
    }
    assert f"colours** · {t('state.queued')}" in words(app)
    press(app, "train.start")  # once more, while the first waits
    assert [job.name for job in here.queue.jobs()] == ["colours", "colours-2"]
    labelled(app.text_input, t("train.name")).set_value("a/b")
    press(app, "train.start")
    assert "choose another name" in app.error[0].value and len(here.queue.jobs()) == 2
    run(app.button(key="stop.colours").click())
    assert [job.name for job in here.queue.jobs()] == ["colours-2"]
    assert f"colours · {t('state.stopped_empty')}" in words(app)
    run(app.button(key="resume.colours").click())
    assert [job.name for job in here.queue.jobs()] == ["colours-2", "colours"]


def test_what_was_chosen_is_still_there_after_a_look_at_another_page(here):
    draw_photos(here.data / "colours")
    app = page("train", **OPEN_FOLDS)
    assert app.radio[0].proto.default == 0  # also where the browser was told nothing more
    app.radio[0].set_value("best")
    app.number_input(key="option.test").set_value(0.1)
    run(app.text_input(key="option.weights").set_value("none"))
    view(follow(app, "data"), "tab_split")
    assert [slider.value for slider in app.slider] == [20, 10]
    run(app.slider[0].set_value(25))  # of the split: it sets that of the training
    assert app.dataframe[0].value[t("data.validation")].sum() == 9
    follow(app, "train", **{"train.command": True})
    assert app.radio[0].value == "best" and not app.warning
    command = app.code[0].value
    assert "--val 0.25 --test 0.1" in command and "--weights none" in command
    follow(app, "train", **OPEN_FOLDS)
    assert app.code[0].value == command
    assert app.number_input(key="option.test").value == 0.1
    assert not app.number_input(key="option.test").proto.HasField("default")  # can be emptied


def test_a_value_that_is_not_allowed_is_told(here):
    draw_photos(here.data / "colours")
    app = page("train", **{"train.backbone": "toy"}, **OPEN_FOLDS)
    for kind, key, value, default in [
        ("text", "views", "many", ""),
        ("number", "head.dropout", 2.0, 0.1),
        ("text", "group", "(", ""),
        ("text", "weights", "nowhere", ""),
        ("text", "tensorboard", "../logs", ""),
        ("number", "size", 7, None),
        ("number", "seed", float("9" * 20), None),
        ("text", "head.hidden", "[99999999]", ""),
    ]:
        run(getattr(app, f"{kind}_input")(key=f"option.{key}").set_value(value))
        (error,) = app.error
        assert key == "weights" or error.value.replace("\\", "").startswith(key)
        assert labelled(app.button, t("train.start")).disabled and not app.code
        assert t("train.error_in_options") in words(app)
        getattr(app, f"{kind}_input")(key=f"option.{key}").set_value(default)
    run(app)
    assert not app.error and not labelled(app.button, t("train.start")).disabled


def test_what_a_training_takes_is_said_at_once_for_each_family(here):
    draw_photos(here.data / "colours")
    app = page("train", **{"train.others": True})
    about = t("train.about", time="").strip()
    assert all(about in caption for caption in app.radio[0].proto.captions)
    family = app.selectbox(key="family.mobilenet_v2")
    assert [name[12:] for name in family.options] == ["_035", "_050", "_075", "", "_130", "_140"]
    assert family.value == "mobilenet_v2" and app.button(key="card.efficientnet_lite").disabled
    run(family.set_value("mobilenet_v2_035"))
    assert t("train.imagenet", part="60.3%") in words(app)
    run(app.button(key="card.mobilenet_v2").click())
    assert f"{t('train.backbone')}: **mobilenet\\_v2\\_035**" in words(app)
    assert f"{t('train.imagenet', part='60.3%')}  \n**{about}" in words(app)


def test_without_the_default_backbone_another_is_chosen(here, monkeypatch):
    draw_photos(here.data / "colours")
    ours = "efficientnet_lite,mobilenet_v2,inception_v3,vgg19,xception"
    monkeypatch.setenv(DISABLED, ours)
    app = page("train")
    assert f"{t('train.backbone')}: **toy**" in words(app) and not app.error
    monkeypatch.setenv(DISABLED, f"{ours},toy")
    assert "no backbone" in words(page("train"))


def test_missing_weights_are_told_before_anything_starts(here, plugin_file):
    draw_photos(here.data / "colours")
    plugin_file("packed", PACKED)
    app = page("train", **{"train.backbone": "packed"})
    error = app.error[0].value.replace("\\", "")
    assert "pip install no-such-weights" in error and "machine (efficientnet_lite0" in error
    assert t("train.error_in_options") not in words(app)  # nor was anything filled in there
    assert t("train.no_time") in words(app)  # its plugin says nothing of its work
    assert labelled(app.button, t("train.start")).disabled
    assert t("train.weights_elsewhere") in words(app)


def test_what_cannot_be_trained_on_is_told_before_it_starts(here):
    draw_photos(here.data / "colours", classes=("blue",))
    app = page("train")
    assert "only one class" in app.error[0].value and str(here.data) not in app.error[0].value
    assert labelled(app.button, t("train.start")).disabled


def test_plugins_are_listed_and_one_that_failed_says_why(here, plugin_file):
    plugin_file("mine", "import nothing_of_this_name")
    app = page("plugins")
    (error,) = app.error
    assert "nothing\\_of\\_this\\_name" in error.value
    names = set(app.table[0].value[t("plugins.plugin")])
    assert names >= {"toy", "vgg19", "presets", "exporters", "mine"}


def test_a_defect_is_told_as_one_and_logged(here, caplog):
    def broken():
        from tlearn.web.server import on_error

        on_error(ValueError("a defect"))

    app = run(AppTest.from_function(broken))
    assert str(here.log) in app.error[0].value
    assert "ValueError: a defect" in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="names of other systems")
def test_names_that_hold_markup_are_shown_as_they_are(here):
    draw_photos(here.data / "colours")
    (here.data / "colours" / "blue").rename(here.data / "colours" / "**[x](y)** :red[z]")
    assert r"\*\*\[x\]\(y\)\*\* \:red\[z\]" in words(page("data"))
