"""Data sets that lie elsewhere on this machine."""

import os
import shutil

import pytest
from conftest import draw_photos
from hypothesis import HealthCheck, given, settings, strategies as st

from tlearn.data.scan import scan
from tlearn.errors import DataError
from tlearn.web import linked_folders as links
from tlearn.web.linked_folders import link_folder, linked_folders, may_link, unlink_folder
from tlearn.web.workspace import Workspace


@pytest.fixture
def here(tmp_path):
    return Workspace(tmp_path / "data", tmp_path / "runs")


def test_a_linked_folder_is_a_data_set_where_it_is(here, tmp_path):
    photos = draw_photos(tmp_path / "else where" / "colours", 2)
    before = sorted(photos.rglob("*"))
    assert link_folder(here.data, f' "{photos}" ', set()) == "colours"
    assert link_folder(here.data, str(photos / ".." / "colours"), {"colours"}) == "colours"
    assert here.data_sets() == ["colours"] and here.data_set("colours") == photos.resolve()
    assert here.name_of(photos) == "colours"
    assert here.new_data_set("colours").name == "colours-2"
    other = draw_photos(tmp_path / "more" / "colours", 2)
    assert link_folder(here.data, str(other), set(here.data_sets())) == "colours-2"
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "labels.csv").write_text("path,label\na.jpg,cat\n")
    assert link_folder(here.data, str(tmp_path / "flat"), set()) == "flat"
    for name in ("flat", "colours", "colours"):
        unlink_folder(here.data, name)
    assert here.data_sets() == ["colours-2"] and sorted(photos.rglob("*")) == before
    (tmp_path / "more").rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"there is no .*colours'; choose another"):
        here.data_set("colours-2")


def test_tables_and_archives_are_linked_too(here, tmp_path):
    photos = draw_photos(tmp_path / "colours", 2)
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", photos.parent, photos.name)
    table = here.data / "labels.csv"  # no data set by itself, as it is no folder
    table.parent.mkdir()
    table.write_text(f"path,label\n{photos / 'red/red00.png'},cat\n")
    assert [link_folder(here.data, str(path), set()) for path in (archive, table)] == [
        "packed",
        "labels",
    ]
    assert here.data_sets() == ["labels", "packed"] and here.data_set("labels") == table
    assert scan(here.data_set("packed")).counts == {"blue": 2, "green": 2, "red": 2}
    with pytest.raises(DataError, match="choose another data set"):
        here.data_set("labels.csv")


def test_what_cannot_be_linked_is_told_in_one_line(here, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    inner = draw_photos(here.data / "colours", 2)
    for text, words in {
        "photos": "not an absolute path",
        str(tmp_path / "nowhere"): "nowhere' is not there; give a folder",
        str(tmp_path / "file"): "file' is a file of another kind; give a folder",
        str(tmp_path / "empty"): "holds no folders and no table",
        str(inner.parent): "found automatically",
    }.items():
        with pytest.raises(DataError, match=words) as error:
            link_folder(here.data, text, set())
        assert "\n" not in str(error.value)
    assert linked_folders(here.data) == {}
    for damage in (b"\xff", b"[]", b'{"a": 1}'):
        (here.data / links.LINKS).write_bytes(damage)
        with pytest.raises(DataError, match="is damaged"):
            here.data_sets()


def test_only_the_machine_s_own_user_may_link(monkeypatch):
    monkeypatch.delenv(links.ALLOWED, raising=False)
    for host, allowed in {
        "127.0.0.1": True,
        "127.8.0.1": True,
        "::1": True,
        "localhost": True,
        "0.0.0.0": False,
        "::": False,
        "192.0.2.1": False,
        "localhost.evil.example": False,
        "": False,
        None: False,
    }.items():
        monkeypatch.setattr(links.st, "get_option", lambda name, host=host: host)
        assert may_link() is allowed
    monkeypatch.setenv(links.ALLOWED, "1")
    assert may_link()


@pytest.mark.skipif(os.name != "posix", reason="names of POSIX")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_a_folder_of_any_name_can_be_linked(here, tmp_path, name):
    folder = tmp_path / "x" / f"a{name[:60]}b"
    (folder / "class").mkdir(parents=True, exist_ok=True)
    label = link_folder(here.data, str(folder), set(here.data_sets()))
    assert here.data_set(label) == folder.resolve()
