"""A remembered scan: what has not changed is not read again, and nothing else is different."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tlearn.data import scan as scanning, scan_cache as remembering
from tlearn.data.scan import scan
from tlearn.data.scan_cache import FileCheck, ScanCache
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
    real = scanning.images.read_bytes

    def read(path):
        seen.append(path)
        return real(path)

    monkeypatch.setattr(scanning.images, "read_bytes", read)
    return seen


def age(path, by=HOUR):
    when = time.time_ns() - by
    os.utime(path, ns=(when, when))


def test_what_has_not_changed_is_not_read_again(old, reads, monkeypatch):
    without = scan(old)
    everything = sorted(reads)
    kinds = {problem.kind for problem in without.problems}
    assert len(everything) == 39 and kinds == {"unreadable", "not an image", "duplicate"}
    reads.clear()
    cache = ScanCache()
    assert scan(old, cache=cache) == without and sorted(reads) == everything
    assert len(cache) == 39
    reads.clear()
    assert scan(old, cache=cache) == without
    group, unlabelled = scan(old, r"(\d)\.", cache=cache), scan(old, unlabelled=True, cache=cache)
    monkeypatch.chdir(old.parent)  # the same folder by another name
    relative = scan(Path(old.name), cache=cache)
    assert reads == []
    assert relative == scan(Path(old.name))
    assert (group, unlabelled) == (scan(old, r"(\d)\."), scan(old, unlabelled=True))


def test_what_has_changed_is_read_again(old, reads):
    cache = ScanCache()
    scan(old, cache=cache)
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
    manifest = scan(old, cache=cache)
    assert changed <= set(reads) <= {*changed, blue.with_name("blue99.png")}
    assert manifest == scan(old)
    contents = {file.name: file.content for file in manifest.files}
    assert contents["green/green05.png"] == scanning.content_hash(green.read_bytes())
    assert "red/broken.png" in contents


def test_another_file_of_the_same_size_and_time_is_another(old, reads):
    cache = ScanCache()
    scan(old, cache=cache)
    path = old / "red/red05.png"
    state = path.stat()
    new = path.with_name("new")
    new.write_bytes(b"\0" * state.st_size)
    new.replace(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    reads.clear()
    assert scan(old, cache=cache) == scan(old)
    assert reads[0] == path


def test_a_file_written_just_now_is_not_remembered(old, monkeypatch):
    path = old / "red/red05.png"
    written = path.stat().st_mtime_ns
    for seconds, remembered in ((1.9, 0), (2.1, 1), (-3600, 0)):
        now, cache = written + int(seconds * 1e9), ScanCache()
        monkeypatch.setattr(remembering.time, "time_ns", lambda now=now: now)
        for _ in range(2):
            cache.check(path, lambda _: FileCheck("content"))
        assert len(cache) == remembered


def test_a_file_that_changes_while_it_is_read_is_read_again(old):
    path, cache = old / "red/red05.png", ScanCache()

    def examine(path):
        path.write_bytes(b"else")
        return FileCheck("before")

    assert cache.check(path, examine).content == "before"
    assert cache.check(path, lambda _: FileCheck("after")).content == "after"


def test_a_disk_that_failed_once_is_asked_again(old, monkeypatch):
    cache = ScanCache()
    real = scanning.images.read_bytes

    def fail(path):
        raise DataError("cannot be read: Input/output error")

    monkeypatch.setattr(scanning.images, "read_bytes", fail)
    with pytest.raises(DataError, match="Input/output error"):
        scan(old, cache=cache)
    monkeypatch.setattr(scanning.images, "read_bytes", real)
    assert len(cache) == 0 and scan(old, cache=cache) == scan(old)


def test_links_and_what_is_gone_are_as_without(old):
    (old / "red/link.png").symlink_to(old / "blue/blue01.png")
    (old / "red/broken-link.png").symlink_to("nowhere.png")
    cache = ScanCache()
    assert scan(old, cache=cache) == scan(old)
    (old / "blue/blue01.png").write_bytes((old / "blue/blue02.png").read_bytes())
    assert scan(old, cache=cache) == scan(old, cache=cache) == scan(old)


def test_what_was_not_asked_for_longest_is_forgotten(old):
    cache = ScanCache(most=2)
    a, b, c = (old / f"red/red0{i}.png" for i in range(3))
    asked = []

    def examine(path):
        asked.append(path)
        return FileCheck(path.name)

    for path in (a, b, a, c, a, b):
        assert cache.check(path, examine).content == path.name
    assert asked == [a, b, c, b] and len(cache) == 2
    assert remembering.MOST == 500_000
    small = ScanCache(most=5)
    assert scan(old, cache=small) == scan(old, cache=small) == scan(old) and len(small) == 5


def test_scans_in_threads_share_what_is_known(old, reads):
    without, cache = scan(old), ScanCache(most=30)
    with ThreadPoolExecutor(4) as pool:
        for manifest in pool.map(lambda _: scan(old, cache=cache), range(20)):
            assert manifest == without
    assert len(cache) == 30
