"""What workers return of a shard: rows in the types of their tables, or files in a store."""

import numpy as np
import pytest
from conftest import draw_photos

from tlearn.config import Augmentation
from tlearn.data.scan import scan
from tlearn.data.views import Rendering
from tlearn.features.activation_cache import Cache
from tlearn.features.image_views import ImageViews, row_keys
from tlearn.features.shard_rows import ShardRows

RENDERING = Rendering(32, "crop", Augmentation())


@pytest.fixture(scope="module")
def views(tmp_path_factory):
    return ImageViews.of(scan(draw_photos(tmp_path_factory.mktemp("shard") / "photos", 4)).files, 2)


def outputs_of(views):
    """Return two outputs of each view, of which one is not wanted."""
    numbers = np.arange(len(views), dtype=np.float32)
    return [np.repeat(numbers[:, None], 5, axis=1) / 3, np.zeros((len(views), 2, 2), np.float32)]


def table_in(cache):
    return cache.table({"output": "wanted"}, (5,), "float16")


def test_rows_come_as_they_are_cached(views):
    tables = {"wanted": (np.dtype("float16"), "")}
    rows, problem = ShardRows(["wanted", "other"], tables, RENDERING).start()(
        views, outputs_of(views)
    )
    assert not problem and list(rows) == ["wanted"]
    assert rows["wanted"].dtype == np.float16
    np.testing.assert_array_equal(rows["wanted"], outputs_of(views)[0].astype(np.float16))


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_files_in_a_store_are_those_of_the_process_that_wants_them(kind, views, request, tmp_path):
    store = str(tmp_path / "nfs")
    if kind == "s3":
        store = f"{request.getfixturevalue('s3')()}/rows"
    keys = row_keys(RENDERING, views)
    with Cache(tmp_path / "a", store=store) as cache, cache.sign_store() as (place, sign):
        table = table_in(cache)
        tables = {"wanted": (table.dtype, table.digest)}
        shard = ShardRows(["wanted", "other"], tables, RENDERING, place, sign)
        for _ in range(2):  # a shard that is computed again leaves nothing beside it
            rows, problem = shard.start()(views, outputs_of(views))
            assert not problem
        assert len(cache.store.listed(table.digest)) == 2
        assert table.missing(keys) == set(keys)
        table.add(rows["wanted"])
        found, there = table.get(keys)
        assert there.all()
        np.testing.assert_array_equal(found, outputs_of(views)[0].astype(np.float16))
    with Cache(tmp_path / "b", store=store) as cache:
        assert not table_in(cache).missing(keys)


def test_where_the_store_is_another_or_fails_rows_come_themselves(views, tmp_path, monkeypatch):
    with Cache(tmp_path / "a", store=str(tmp_path / "nfs")) as cache:
        table = table_in(cache)
        tables = {"wanted": (table.dtype, table.digest)}
        with cache.sign_store() as (place, sign):
            shard = ShardRows(["wanted", "other"], tables, RENDERING, place, sign)
            finish = shard.start()
        late = shard.start()  # the file that signs is gone
        (tmp_path / "nfs" / table.digest).write_text("no folder")
    for each, reason in ((late, "it is not the same there"), (finish, "nfs")):
        for _ in range(2):
            rows, problem = each(views, outputs_of(views))
            assert reason in problem and "\n" not in problem
            assert rows["wanted"].shape == (len(views), 5)
