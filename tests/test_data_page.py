"""What is done with data sets on their page: renamed, deleted, checked, looked at."""

import json
import threading

import pytest
from conftest import draw_photos
from pages import comes, labelled, page, press, run, t, view, words
from PIL import Image
from streamlit.testing.v1 import AppTest
from test_uploads import photo, send

from tlearn.config import RunConfig
from tlearn.data.editing import exclude, rename
from tlearn.data.edits import Edits, undo_edits
from tlearn.data.scan import scan
from tlearn.data.thumbnails import blank
from tlearn.data.uploads import Upload
from tlearn.errors import DataError
from tlearn.runs.directory import RunDirectory
from tlearn.web import data_process
from tlearn.web.components import check_view, gallery, ready_photos, scans
from tlearn.web.components.balance_chart import balance_chart
from tlearn.web.data_trash import (
    delete_data_set,
    deleted_data_sets,
    rename_data_set,
    restore_data_set,
)
from tlearn.web.data_work import add_photos, describe_new
from tlearn.web.linked_folders import link_folder


def test_a_data_set_is_renamed_with_its_edits_and_in_its_runs(here):
    data = draw_photos(here.data / "colours")
    rename(data, "red", "rouge")
    run_directory = RunDirectory.create(here.runs / "one", RunConfig(backbone="toy"), data)
    (here.runs / "one" / "stop").touch()  # it will not begin
    before = (here.runs / "one" / "run.yaml").stat().st_mtime_ns
    app = page("data", {"data": "colours"})
    app.text_input(key="rename_set.colours").set_value("Farben")
    press(app, "data.rename_set")
    assert here.data_sets() == ["Farben"] and "rouge" in words(app)
    assert scan(here.data / "Farben").counts == {"blue": 12, "green": 12, "rouge": 12}
    assert run_directory.request().data == here.data / "Farben"
    assert (here.runs / "one" / "run.yaml").stat().st_mtime_ns == before
    draw_photos(here.data / "other", 1)
    with pytest.raises(DataError, match="there is a data set 'other' already"):
        rename_data_set(here, "Farben", "other")
    here.queue.submit(here.data / "Farben", RunConfig(backbone="toy"), "two")
    with pytest.raises(DataError, match="the run 'two' trains on 'Farben'"):
        rename_data_set(here, "Farben", "new")


def test_a_deleted_data_set_is_restored(here, tmp_path):
    data = draw_photos(here.data / "colours")
    exclude(data, ["red/red00.png"])
    app = press(page("data", visit=1), "data.delete_set")
    assert not here.data_sets() and t("common.purpose") in words(app)
    app.text_input(key="new.class.0").set_value("cup")
    app.text_input(key="new.class.1").set_value("pen")
    app.text_input(key="new.name").set_value("colours")  # the name is taken meanwhile
    press(app, "data.make_classes")
    # Not what was there before; and each class that was made counts, which is no file to look at.
    assert "cup" in words(app) and "Photos: **0** · classes: **2**" in words(app)
    (here.data / "colours" / "cup" / "1.png").write_bytes(photo(1))
    said = words(page("data", visit=9))
    assert "Photos: **1** · classes: **2**" in said and "need a look" not in said
    app = page("data")
    run(app.button(key="restore.menu.colours").click())
    assert here.data_sets() == ["colours", "colours-2"]
    assert app.query_params["data"] == "colours-2" and "Photos: **35**" in words(app)
    assert deleted_data_sets(here) == []
    delete_data_set(here, "colours")
    link_folder(here.data, str(draw_photos(tmp_path / "colours", 1)), set())
    assert restore_data_set(here, "colours") == "colours-3"  # not hidden by the linked one
    with pytest.raises(DataError, match="not among the deleted"):
        restore_data_set(here, "colours")


def test_what_a_check_finds_is_corrected_one_by_one_and_all_at_once(here, monkeypatch):
    monkeypatch.setattr(check_view, "_checks", {})
    data = draw_photos(here.data / "colours")
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (data / "red" / name).write_bytes(photo(3)[:200])
    Image.linear_gradient("L").resize((600, 20)).save(data / "red" / "long.png")
    app = view(page("data"), "tab_check")
    key = "right.extreme aspect\nred/long.png"
    app = run(app.button(key="check.extreme aspect.enlarge.0").click())
    assert any("red/long.png · 600" in caption.value.replace("\\", "") for caption in app.caption)
    run(app.button(key=key).click())  # it is not wrong: that finding is gone, for other tabs, too
    assert key not in [button.key for button in page("data", {"view": "tab_check"}).button]
    assert "unreadable" in words(app).lower() and t("data.check_old") not in words(app)
    (data / "red" / "new.png").write_bytes(photo(4))
    assert t("data.check_old") in words(view(page("data", visit=2), "tab_check"))
    app = press(view(page("data", visit=2), "tab_check"), "data.check_files")
    assert t("data.check_old") not in words(app)
    run(app.button(key="fix.unreadable\nred/a.jpg").click())
    assert [edit.path for edit in Edits.of(data).lines] == ["red/a.jpg"]
    stale = page("data", {"view": "tab_check"})
    exclude(data, ["red/b.jpg"])  # in another tab
    before = Edits.of(data).lines
    run(stale.button(key="fix.unreadable\nred/b.jpg").click())
    assert Edits.of(data).lines == before  # and not the next one's
    undo_edits(data)
    app = page("data", {"view": "tab_check"})
    run(app.button(key="fix.unreadable.2").click())
    assert {edit.path for edit in Edits.of(data).lines} == {f"red/{n}.jpg" for n in "abc"}
    assert "unreadable" not in words(app).lower()
    run(labelled(app.button, "Undo").click())
    assert "unreadable" in words(app).lower()
    assert [edit.path for edit in Edits.of(data).lines] == ["red/a.jpg"]
    undo = labelled(app.button, "Undo")
    exclude(data, ["red/new.png"])  # what is said of it is the same
    run(undo.click())
    assert [edit.path for edit in Edits.of(data).lines] == ["red/a.jpg", "red/new.png"]


def test_an_edit_of_a_data_set_that_is_gone_says_so(here):
    def edit_it():
        from tlearn.data.editing import exclude
        from tlearn.web.components.photo_editor import edit

        edit("colours", exclude, ["red/red00.png"])

    assert "there is no" in run(AppTest.from_function(edit_it)).error[0].value


def test_what_is_added_to_a_class_is_said_of_it(here, monkeypatch):
    """Also where its dialog was closed, and that of another class was opened, before it ended."""
    draw_photos(here.data / "colours")
    for opened in ("red", None):
        upload = Upload(here.data)
        send(upload, "new.png", photo(80 + bool(opened)))
        app = page("data")
        with monkeypatch.context() as patch:
            comes(patch, uploader=[upload])
            patch.setattr("tlearn.web.components.class_photos.wait_for", lambda *_: False)
            run(app.button(key="add.blue").click())
            del app.session_state["adding.class"]
            if opened:
                run(app.button(key=f"add.{opened}").click())
        comes(monkeypatch)
        run(app)
        said = words(app) if opened else "".join(toast.value for toast in app.toast)
        assert t("data.added", label="blue", count=1) in said
    assert scan(here.data / "colours").counts == {"blue": 14, "green": 12, "red": 12}


@pytest.fixture
def ending(monkeypatch):
    """Have the process for data end at the work in a list, once each."""
    works, real = [], data_process.run

    def run_or_end(progress, do, *values):
        if do in works:
            works.remove(do)
            raise DataError(data_process.ENDED)
        return real(progress, do, *values)

    monkeypatch.setattr(data_process, "run", run_or_end)
    return works


def test_an_upload_is_not_lost_with_the_process_for_data(here, monkeypatch, ending):
    coming = []
    monkeypatch.setattr(
        "tlearn.web.components.new_data_set.uploader",
        lambda root, key: coming.pop() if coming else None,
    )
    for last in ("common.try_again", "data.discard"):
        coming.append(Upload(here.data))
        for i in range(3):
            send(coming[0], f"photos/a/{i}.png", photo(i))
        ending[:] = [describe_new, describe_new]
        app = page("data", **{"new.source": "from_upload"})
        press(app, "common.try_again")
        assert "was ended" in words(app) and not ending
        press(app, last)
        assert "was ended" not in words(app) or last == "data.discard"
    (name,) = here.data_sets()  # the first
    assert len(scan(here.data / name).files) == 3


def test_photos_for_a_class_are_not_lost_with_the_process_for_data(here, monkeypatch, ending):
    data = draw_photos(here.data / "colours")
    for k, last in enumerate(("common.try_again", "data.discard")):
        upload = Upload(here.data)
        send(upload, "new.png", photo(90 + k))
        comes(monkeypatch, uploader=[upload])
        ending[:] = [add_photos]
        app = page("data")
        run(app.button(key="add.blue").click())
        assert "was ended" in words(app) and upload.is_open
        press(app, last)
        assert not upload.is_open
    assert scan(data).counts == {"blue": 13, "green": 12, "red": 12}


def test_photos_that_take_long_are_shown_when_they_are_ready(here, monkeypatch):
    draw_photos(here.data / "colours", 3)
    held, missing = threading.Event(), []
    monkeypatch.setattr(ready_photos, "thumbnail", lambda path, pixels: held.wait(60))
    monkeypatch.setattr(gallery, "blank", lambda pixels: missing.append(1) or blank(pixels))
    monkeypatch.setattr(scans, "SOON", 0.01)
    app = page("data", {"class": "red"})
    assert len(missing) == 3
    held.set()
    for made in list(ready_photos._made.values()):
        made.task.over.wait(60)
    monkeypatch.setattr(scans, "SOON", 600)
    run(app)
    assert len(missing) == 3


def test_a_photo_is_enlarged(here):
    draw_photos(here.data / "colours", 3)
    app = page("data", {"class": "blue"})
    run(app.button(key="gallery.colours.blue.enlarge.1").click())
    assert "blue/blue01.png" in words(app).replace("\\", "")
    press(app, "data.next")
    assert "blue/blue02.png" in words(app).replace("\\", "")
    assert labelled(app.button, t("data.next")).disabled


def test_the_chart_of_classes_shows_each_name_as_it_is():
    chart = balance_chart({"1": 3, "10": 4, "'\\": 5, "x" * 99: 6}, "Class", "Photos")
    assert [row["count"] for row in chart["data"]["values"]] == [3, 4, 5, 6]
    expression = chart["encoding"]["y"]["axis"]["labelExpr"]
    names = json.loads(expression.removesuffix("[datum.value]"))
    assert names[:3] == ["1", "10", "'\\"] and len(names[3]) == 40
