"""A remembered scan: what has not changed is not read again, and nothing else is different."""

import io
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import Counted
from PIL import Image

from tlearn.cli import main
from tlearn.data import file_reading, scan_cache as remembering
from tlearn.data.scan import scan
from tlearn.data.scan_cache import ScanCache, remove_scans, scans_bytes
from tlearn.errors import DataError

HOUR = 3_600_000_000_000


@pytest.fixture
def old(photos):
    """The folder of photos, as if written an hour ago, with files that are problems."""
    (photos / "red/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nand then nothing")
    (photos / "red/notes.txt").write_bytes(b"not an image")
    shutil.copy(photos / "red/red00.png", photos / "blue/copy.png")
    for path in photos.rglob("*.*"):
        age(path)
    return photos


@pytest.fixture
def reads(monkeypatch):
    """The paths that scans read, in the order of reading."""
    seen = []
    real = file_reading.images.read_bytes

    def read(path):
        seen.append(path)
        return real(path)

    monkeypatch.setattr(file_reading.images, "read_bytes", read)
    return seen


def age(path, by=HOUR):
    when = time.time_ns() - by
    os.utime(path, ns=(when, when))


def cached(root, *args, **options):
    """Scan with the results of earlier scans."""
    return scan(root, *args, cache=ScanCache(root), **options)


def test_what_has_not_changed_is_not_read_again(old, reads, monkeypatch):
    without = scan(old)
    everything = sorted(reads)
    kinds = {problem.kind for problem in without.problems}
    assert len(everything) == 39 and kinds == {"unreadable", "not an image", "duplicate"}
    reads.clear()
    assert cached(old) == without and sorted(reads) == everything
    reads.clear()
    assert cached(old) == without
    group, unlabelled = cached(old, r"(\d)\."), cached(old, unlabelled=True)
    monkeypatch.chdir(old.parent)  # the same folder by another name
    relative = cached(Path(old.name))
    assert reads == []
    assert relative == scan(Path(old.name))
    assert (group, unlabelled) == (scan(old, r"(\d)\."), scan(old, unlabelled=True))


def test_what_is_inspected_is_read_and_then_known(old, reads):
    seen = []
    cached(old, inspect=lambda file, examined, data: seen.append(file.name))
    assert len(reads) == 39 and len(seen) == 37
    cached(old, inspect=lambda file, examined, data: seen.append(file.name))
    assert len(reads) == 78 and len(seen) == 74
    assert cached(old) == scan(old) and len(reads) == 78 + 39


def test_values_of_more_than_8_bits_and_notes_are_known(old, reads):
    for i, high in enumerate((900, 4000)):
        values = np.linspace(0, high, 64).reshape(8, 8).astype(np.uint16)
        Image.fromarray(values).save(old / f"red/deep{i}.png")
    (old / "green/half.jpg").write_bytes(half_a_photo())
    for path in old.rglob("*.*"):
        age(path)
    without = scan(old)
    assert without.files.ranges.integer_range == (0, 4095)
    assert any(problem.kind == "pixels" for problem in without.problems)
    assert cached(old) == without
    reads.clear()
    assert cached(old) == without and reads == []


def half_a_photo():
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()[:-2000]


def test_what_has_changed_is_read_again(old, reads):
    cached(old)
    red, blue, green = (old / f"{label}/{label}05.png" for label in ("red", "blue", "green"))
    red.write_bytes(blue.read_bytes())  # another size, or at least another time
    age(red)
    data = green.read_bytes()
    state = green.stat()
    green.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # the same size
    os.utime(green, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    blue.rename(blue.with_name("blue99.png"))
    shutil.copy(old / "red/red01.png", old / "red/broken.png")
    (old / "red/notes.txt").unlink()
    changed = {red, green, old / "red/broken.png"}
    reads.clear()
    manifest = cached(old)
    assert changed <= set(reads) <= {*changed, blue.with_name("blue99.png")}
    assert manifest == scan(old)
    contents = {file.name: file.content for file in manifest.files}
    assert contents["green/green05.png"] == file_reading.content_hash(green.read_bytes())
    assert "red/broken.png" in contents


def test_another_file_of_the_same_size_and_time_is_another(old, reads):
    cached(old)
    path = old / "red/red05.png"
    state = path.stat()
    new = path.with_name("new")
    new.write_bytes(b"\0" * state.st_size)
    new.replace(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    reads.clear()
    assert cached(old) == scan(old)
    assert reads[0] == path


def test_a_file_written_just_now_is_not_remembered(old, reads, monkeypatch):
    path = old / "red/red05.png"
    written = path.stat().st_mtime_ns
    for seconds, known in ((1.9, False), (-3600, False), (2.1, True)):
        now = written + int(seconds * 1e9)
        monkeypatch.setattr(remembering.time, "time_ns", lambda now=now: now)
        remove_scans()
        cached(old)
        reads.clear()
        cached(old)
        assert (path not in reads) == known


def test_a_file_that_changes_while_it_is_read_is_read_again(old, monkeypatch):
    path, read = old / "red/red05.png", file_reading.images.read_bytes

    def read_and_write(place):
        data = read(place)
        if place == path:
            shutil.copy(old / "blue/blue05.png", path)
        return data

    monkeypatch.setattr(file_reading.images, "read_bytes", read_and_write)
    cached(old)
    monkeypatch.setattr(file_reading.images, "read_bytes", read)
    contents = {file.name: file.content for file in cached(old).files}
    assert contents["red/red05.png"] == contents["blue/blue05.png"]


def test_a_disk_that_failed_once_is_asked_again(old, monkeypatch):
    real = file_reading.images.read_bytes

    def fail(path):
        raise DataError("cannot be read: Input/output error")

    monkeypatch.setattr(file_reading.images, "read_bytes", fail)
    with pytest.raises(DataError, match="Input/output error"):
        cached(old)
    monkeypatch.setattr(file_reading.images, "read_bytes", real)
    assert cached(old) == scan(old)


def test_links_and_what_is_gone_are_as_without(old):
    (old / "red/link.png").symlink_to(old / "blue/blue01.png")
    (old / "red/broken-link.png").symlink_to("nowhere.png")
    assert cached(old) == scan(old)
    (old / "blue/blue01.png").write_bytes((old / "blue/blue02.png").read_bytes())
    assert cached(old) == cached(old) == scan(old)


def test_what_was_read_before_ctrl_c_is_known(old, reads, monkeypatch):
    class Impatient(Counted):
        def advance(self, n=1, note=""):
            super().advance(n)
            if self.done > 20:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(old, progress=Impatient())
    reads.clear()
    assert cached(old) == scan(old)
    assert len(reads) - 39 <= 39 - 20


def test_damaged_results_and_those_of_other_versions_are_not_used(old, reads, monkeypatch):
    without = scan(old)
    cached(old)
    path = ScanCache(old).path
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"ARROW1" + b"\0" * 99):
        path.write_bytes(damaged)
        reads.clear()
        assert cached(old) == without and len(reads) == 39
    schema = remembering.SCHEMA.with_metadata({"readers": "tlearn 99"})
    monkeypatch.setattr(remembering, "SCHEMA", schema)
    reads.clear()
    assert cached(old) == without and len(reads) == 39


def test_a_folder_that_cannot_be_written_is_as_none(old, cache, reads):
    cache.write_bytes(b"a file in place of the folder")
    assert cached(old) == cached(old) == scan(old) and len(reads) == 3 * 39


def test_the_results_of_many_data_sets_are_bounded_and_can_be_removed(old, monkeypatch, capsys):
    monkeypatch.setattr(remembering, "MOST", 2)
    for name in ("one", "two", "three"):
        shutil.copytree(old, old.parent / name)
        cached(old.parent / name)
    assert len([*ScanCache(old).path.parent.iterdir()]) == 2
    assert scans_bytes() > 0 and main(["cache", "clear"]) == 0
    assert scans_bytes() == 0 and "freed" in capsys.readouterr().out
