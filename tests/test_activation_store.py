"""The store of activations that machines share; here a machine is a cache folder of its own."""

import json
import uuid

import fsspec
import numpy as np
import pytest
from conftest import TOY, Heard
from test_cache import ROW, rows, space_in

from tlearn import store_access
from tlearn.cli import main
from tlearn.errors import CacheError
from tlearn.features import cache_table
from tlearn.features.activation_cache import Cache
from tlearn.features.activations import Activations


@pytest.fixture(params=["memory", "s3", "folder"])
def store(request, tmp_path):
    if request.param == "s3":
        return f"{request.getfixturevalue('s3')()}/activations"
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}/activations"
    return str(tmp_path / "nfs" / "activations")


@pytest.fixture
def machine(tmp_path):
    """Open the cache of a machine, by its name."""

    def open_cache(name, store, budget=None, say=None):
        return Cache(tmp_path / name, budget, say, store)

    return open_cache


def put(cache, start, stop, **other):
    table = space_in(cache, **other)
    table.put(*rows(start, stop))
    return table


def files_of(store):
    files, root = fsspec.url_to_fs(store)
    files.invalidate_cache()
    return sorted(path.removeprefix(root) for path in files.find(root))


def remove(store, part):
    files, root = fsspec.url_to_fs(store)
    for name in files_of(store):
        if part in name:
            files.rm(root + name)


def assert_rows(table, start, stop):
    keys, values = rows(start, stop)
    found, there = table.get(keys)
    assert there.all()
    np.testing.assert_array_equal(found, values)


def test_what_one_machine_computes_another_finds(store, machine):
    with machine("a", store) as cache:
        table = put(cache, 0, 20)
        assert table.missing(rows(0, 20)[0]) == set()
    with machine("b", store) as cache:
        table = space_in(cache)
        assert table.missing(rows(0, 25)[0]) == set(rows(20, 25)[0])
        assert cache.used_bytes() == 0
        assert_rows(table, 0, 20)
        assert cache.used_bytes() == 20 * ROW
        assert space_in(cache, size=64).missing(rows(0, 20)[0]) == set(rows(0, 20)[0])
    with machine("b", "") as cache:  # what was fetched is there without the store
        assert_rows(space_in(cache), 0, 20)


def test_full_files_go_while_more_is_computed_and_the_rest_at_the_end(store, machine, monkeypatch):
    monkeypatch.setattr(cache_table, "SEGMENT", 10 * ROW)
    with machine("a", store) as cache:
        table = space_in(cache)
        for start in range(0, 35, 5):
            table.put(*rows(start, start + 5))
        table.finish()
        names = files_of(store)
        assert len(names) == 8
        assert {name.split("/")[2] for name in names} == {"rows", "keys"}
        with machine("b", store) as other:
            assert_rows(space_in(other), 0, 35)


def test_many_write_at_once_and_a_reader_looks_again(store, machine):
    with machine("driver", store) as driver:
        table = space_in(driver)
        workers = [machine(f"worker {i}", store) for i in range(3)]
        for i, worker in enumerate(workers):
            put(worker, 10 * i, 10 * i + 15).finish()
        assert table.missing(rows(0, 35)[0]) == set(rows(0, 35)[0])
        table.refresh()
        assert_rows(table, 0, 35)
        for worker in workers:
            worker.close()


def test_what_a_store_has_is_evicted_and_fetched_again(store, machine):
    with machine("a", store) as cache:
        put(cache, 0, 10)
    with machine("a", store, budget=15 * ROW) as cache:
        assert cache.make_room(10 * ROW) == 10 * ROW
        assert cache.used_bytes() == 0
        table = space_in(cache)
        assert_rows(table, 0, 10)
        assert cache.used_bytes() == 10 * ROW
    with machine("a", "") as cache:
        cache.clear()
        assert not space_in(cache).get(rows(0, 10)[0])[1].any()


def test_rows_without_room_are_read_in_place(store, machine, monkeypatch):
    monkeypatch.setattr(cache_table, "SEGMENT", 10 * ROW)
    with machine("a", store) as cache:
        table = space_in(cache)
        for start in range(0, 30, 10):
            table.put(*rows(start, start + 10))
    with machine("b", store, budget=15 * ROW) as cache:
        table = space_in(cache)
        assert_rows(table, 0, 30)
        assert cache.used_bytes() == 10 * ROW
        assert_rows(table, 0, 30)


def test_rows_that_do_not_fit_here_are_in_the_store_alone(store, machine, monkeypatch):
    monkeypatch.setattr(cache_table, "SEGMENT", 10 * ROW)
    with machine("a", store, budget=15 * ROW) as cache:
        table = space_in(cache)
        assert cache.room() > 50 * ROW
        for start in range(0, 50, 10):
            table.put(*rows(start, start + 10))
        table.finish()
        assert cache.used_bytes() <= 15 * ROW
        assert_rows(table, 0, 50)


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_a_plan_counts_the_store_as_room(store, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("TLEARN_CACHE", str(tmp_path / "cache"))
    words = ["finetune", str(photos), *TOY, "--stages", "1:2@1e-3", "--disk-budget", "1K"]
    heard = []
    for name, options in (("a", []), ("b", ["--activation-store", store])):
        assert main([*words, "--quiet", *options, "--out", str(tmp_path / name)]) == 0
        plan = json.loads((tmp_path / name / "metrics.json").read_text())["plan"]
        heard.append(plan["streaming"])
    assert heard == [True, False]
    with Cache(tmp_path / "cache") as cache:
        assert cache.used_bytes() <= 1000


def test_damage_in_a_store_is_computed_again(store, machine):
    with machine("a", store) as cache:
        put(cache, 0, 10)
    files, root = fsspec.url_to_fs(store)
    [path] = [root + name for name in files_of(store) if "/rows/" in name]
    content = bytearray(files.cat(path))
    content[3 * ROW + 5] ^= 1
    files.pipe_file(path, bytes(content[: 8 * ROW]))
    for budget in (None, 0):  # in the cache, and in place
        with machine(f"b {budget}", store, budget) as cache:
            table = space_in(cache)
            found, there = table.get(rows(0, 10)[0])
            assert np.flatnonzero(~there).tolist() == [3, 8, 9]
            np.testing.assert_array_equal(found[there], rows(0, 10)[1][there])
            assert table.missing(rows(0, 10)[0]) >= {rows(3, 4)[0][0]}


def test_files_that_are_gone_or_incomplete_do_not_count(store, machine):
    with machine("a", store) as cache:
        put(cache, 0, 10)
    with machine("b", store) as cache:
        table = space_in(cache)
        remove(store, "/rows/")
        assert not table.get(rows(0, 10)[0])[1].any()
    remove(store, "/keys/")
    with machine("c", store) as cache:
        put(cache, 10, 20).finish()
    with machine("b", store) as cache:
        assert space_in(cache).missing(rows(0, 20)[0]) == set(rows(0, 10)[0])
    with machine("a", store) as cache:  # which still has them itself
        assert_rows(space_in(cache), 0, 20)
    with machine("d", store) as cache:  # and gives them back
        assert space_in(cache).missing(rows(0, 20)[0]) == set()
    files, root = fsspec.url_to_fs(store)
    for name in files_of(store):
        if "/keys/" in name:
            files.pipe_file(root + name, files.cat(root + name)[:50])
    with machine("e", store) as cache:
        assert space_in(cache).missing(rows(0, 20)[0]) == set(rows(0, 20)[0])


def test_two_stores_behind_one_cache_are_kept_apart(machine, tmp_path):
    one, two = f"memory://{uuid.uuid4().hex}", f"memory://{uuid.uuid4().hex}"
    with machine("a", one) as cache:
        put(cache, 0, 10)
    with machine("b", one) as cache:
        space_in(cache)
    with machine("b", two) as cache:
        table = space_in(cache)
        assert table.missing(rows(0, 10)[0]) == set(rows(0, 10)[0])
        table.put(*rows(0, 10))
        assert_rows(table, 0, 10)
    assert len(files_of(two)) == 2


def test_a_store_that_fails_is_said_once_and_done_without(machine, monkeypatch):
    store, heard = f"memory://{uuid.uuid4().hex}", Heard()
    with machine("a", store) as cache:
        put(cache, 0, 10)

    def fail(*args, **options):
        raise PermissionError("Access Denied")

    memory = fsspec.filesystem("memory")
    for name in ("pipe_file", "get_file", "cat_ranges"):
        monkeypatch.setattr(type(memory), name, fail)
    with machine("b", store, say=heard.say) as cache:
        table = space_in(cache)
        assert not table.get(rows(0, 10)[0])[1].any()
        table.put(*rows(0, 20))
        table.finish()
        assert_rows(table, 0, 20)
    assert heard.lines == [
        f"activations cannot be read from the store {store!r}: no permission (Access Denied); this "
        f"run goes on without it"
    ]
    with machine("c", store, say=heard.say) as cache:
        table = space_in(cache, size=64)
        table.put(*rows(0, 20))
        table.finish()
        assert_rows(table, 0, 20)
    assert "cannot be written to the store" in heard.lines[1]
    assert len(heard.lines) == 2


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ("s3://no-such-bucket/activations", "The specified bucket does not exist"),
        ("nothing://bucket", "protocol"),
        ("s3://", "s3://bucket/folder"),
    ],
)
def test_a_store_that_cannot_be_used_is_refused(s3, machine, store, message):
    with pytest.raises(CacheError, match=message):
        machine("a", store)


def test_an_address_where_nobody_answers_is_refused_in_time(s3, machine, monkeypatch):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(store_access, "SECONDS", 0.5)
        with pytest.raises(CacheError, match=r"no answer within 0\.5 seconds"):
            machine("a", "s3://bucket/activations")


@pytest.mark.parametrize("store", ["memory"], indirect=True)
def test_a_training_on_one_machine_uses_what_another_computed(
    store, photos, tmp_path, monkeypatch, capsys
):
    computed = []
    compute_views = Activations.compute_views

    def count(self, items, outputs):
        computed.append(len(items))
        return compute_views(self, items, outputs)

    monkeypatch.setattr(Activations, "compute_views", count)
    words = ["finetune", str(photos), *TOY, "--quiet", "--activation-store", store]
    for name, expected in (("a", True), ("b", False)):
        monkeypatch.setenv("TLEARN_CACHE", str(tmp_path / f"cache {name}"))
        computed.clear()
        assert main([*words, "--out", str(tmp_path / name)]) == 0
        assert bool(computed) == expected
    a, b = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("a", "b"))
    assert a["validation"] == b["validation"]
    assert main([*words[:-1], "nothing://x", "--out", str(tmp_path / "c")]) == 2
    assert "'nothing://x' cannot be opened" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_what_a_killed_process_did_not_upload_the_next_one_does(store, machine):
    other = machine("b", store)
    put(other, 0, 5).finish()
    killed = machine("a", store)
    put(killed, 0, 10)
    with machine("a", store):
        assert len(files_of(store)) == 2  # what is written to is not touched
    with machine("a", store) as cache:
        space_in(cache)
    assert len(files_of(store)) == 2
    segment = killed._tables[0]._segment
    killed._tables[0]._segment = None
    segment[1].close()  # as the end of its process does
    for _ in range(2):
        with machine("a", store) as cache:
            space_in(cache)
        assert len(files_of(store)) == 4
    with machine("c", store) as cache:
        assert_rows(space_in(cache), 0, 10)
    killed.close()
    other.close()
    assert len(files_of(store)) == 4
