"""Data sets of shards: folders of ``.tar`` or ``.parquet`` files with photos and their classes.

A shard is of a split if its name or that of its folder begins so: ``train-00000.tar``. What is in a
shard is described in :mod:`tlearn.data.shard_index`.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from tlearn.data.columns import NAMES
from tlearn.data.data_source import DataSource
from tlearn.data.file_table import FileTable
from tlearn.data.folders import walk
from tlearn.data.layouts import SPLITS, Split, relative_name, split_of
from tlearn.data.packed_photos import forget_shards
from tlearn.data.prefetch import prefetch_map, readers
from tlearn.data.shard_index import ENDINGS, index_of, prune_indexes
from tlearn.errors import DataError
from tlearn.text import encode_name

UNFINISHED = "packing-unfinished.txt"  # a file that is there until all shards are


def shards_in(data: Path) -> list[Path]:
    """Return the shards of a folder of nothing else, or a ``.parquet`` itself; else none.

    Raises:
        DataError: If a folder cannot be listed, or not all of its shards are written.
    """
    if data.suffix.lower() == ".parquet" and data.is_file():
        return [data]
    if not data.is_dir():
        return []
    shards = []
    for path in walk(data):
        if path.name == UNFINISHED:
            raise DataError(
                f"not all shards of {str(data)!r} are written; wait for 'tlearn data pack' to end, "
                f"or remove what it left and pack again"
            )
        if path.suffix.lower() in ENDINGS:
            shards.append(path)
        elif path.suffix.lower() not in (".md", ".json", ".txt", ".yaml", ""):
            return []  # photos, or a table
    return shards


def shard_source(data: Path, shards: Sequence[Path]) -> DataSource:
    """List the photos of shards, several at once.

    Raises:
        DataError: If one is damaged, or has no photos with classes.
    """
    forget_shards()
    folder = data if data.is_dir() else data.parent
    tables = [FileTable.of(folder)]
    listed = prefetch_map(index_of, shards, threads=readers(shards))
    for shard, index in zip(shards, listed, strict=True):
        samples = index.samples.values()
        before = f"{relative_name(shard, folder)}/"
        names = pa.array([before + encode_name(sample.name) for sample in samples], NAMES)
        labels = pa.array([sample.label for sample in samples], pa.large_string())
        columns = {"label": labels, "given": _split_of(shard, folder) or "", "inner": len(before)}
        tables.append(FileTable.of_columns(folder, names, **columns))
    prune_indexes()
    files = FileTable.concatenated(tables)
    given = files.given.present
    note = f"{len(files):,} photos in {len(shards):,} shard{'s' if len(shards) > 1 else ''}"
    splits = {split: "" for split in SPLITS if split in given}
    return DataSource(data, folder, files, (note,), (), folder, splits=splits)


def _split_of(shard: Path, folder: Path) -> Split | None:
    """Return the split that the first word of a shard's name means, or that of its folder."""
    names = [shard.stem, *([shard.parent.name] if shard.parent != folder else [])]
    words = (re.match(r"[^\W\d_]*", name) for name in names)
    return next((split for word in words if word and (split := split_of(word[0]))), None)
