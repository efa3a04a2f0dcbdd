"""The files of a data set in columns: about 60 bytes and the name of each, however many there are.

A :class:`FileTable` is a sequence of :class:`ImageFile`, which are made as they are asked for. What
is about all files at once, such as counting classes, looks at the columns instead.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tlearn.data.columns import (
    CHUNK,
    HASH,
    HASH_BYTES,
    NAMES,
    TEXTS,
    Codes,
    code_texts,
    fixed_array,
    fixed_bytes,
)
from tlearn.data.layouts import Split
from tlearn.data.packed_photos import photo_path
from tlearn.data.pixel_values import DEFAULT_RANGES, ValueRanges
from tlearn.data.prefetch import batched
from tlearn.text import decode_name

SCHEMA = pa.schema(
    {
        "name": NAMES,
        "inner": pa.int32(),  # where in the name the path below the class folder begins
        "label": TEXTS,
        "given": TEXTS,
        "group": TEXTS,
        "content": HASH,  # zeros if it was not read
        "ranges": TEXTS,  # as JSON
    }
)
UNREAD = bytes(HASH_BYTES)


@dataclass(frozen=True)
class ImageFile:
    """One image, or in a data source a file that was not read yet.

    Attributes:
        name: Its path below the folder of the photos, encoded by :func:`tlearn.text.encode_name`;
            absolute where a table names a file elsewhere, perhaps in a store.
        label: Its class; empty outside class folders, and for what a table does not name.
        content: BLAKE2b hash of its bytes, 32 hexadecimal digits; empty if it was not read.
        given: The split of the ``train/``, ``validation/`` or ``test/`` folder that it is in, or
            that a table gives it.
        group: What an edit says, the group pattern matched, or a table says; files of one group are
            put into one split.
        below: Its path below its class folder, or the folder of its table: the end of its name.
        ranges: The values that become black and white, if it has more than 8 bits.
    """

    path: Path
    name: str
    label: str
    content: str = ""
    given: Split | None = None
    group: str = ""
    below: str = ""
    ranges: ValueRanges = DEFAULT_RANGES


class FileTable(Sequence[ImageFile]):
    """Files as a sequence and as columns; parts of it share the columns.

    Args:
        folder: What names are relative to.
        columns: As :data:`SCHEMA` has them.
        rows: The positions in the columns of the files of this table, in their order; all if not
            given.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, folder: Path, columns: Any, rows: np.ndarray | None = None) -> None:
        self.folder = folder
        self._columns = columns if isinstance(columns, _Columns) else _Columns(columns)
        self._rows = np.arange(len(self._columns)) if rows is None else rows

    @classmethod
    def of(cls, folder: Path, files: Iterable[ImageFile] = ()) -> "FileTable":
        """Make a table of single files, whose paths are their names below the folder."""
        batches = [_batch(files) for files in batched(iter(files), CHUNK)]
        return cls(folder, pa.Table.from_batches(batches, SCHEMA))

    @classmethod
    def of_columns(cls, folder: Path, names: Any, **columns: Any) -> "FileTable":
        """Make a table of Arrow arrays, or of one value for all; what is not given is empty."""
        texts = {"label": "", "given": "", "group": "", "ranges": ranges_text(DEFAULT_RANGES)}
        values = {"name": names, "inner": 0, "content": UNREAD} | texts | columns
        arrays = [_column(values[field.name], field.type, len(names)) for field in SCHEMA]
        return cls(folder, pa.Table.from_arrays(arrays, schema=SCHEMA))

    @classmethod
    def concatenated(cls, tables: Sequence["FileTable"]) -> "FileTable":
        """Return the files of tables of one folder after each other."""
        first = tables[0]
        if all(table._columns is first._columns for table in tables):
            return first._part(np.concatenate([table._rows for table in tables]))
        return cls(first.folder, pa.concat_tables([table.columns for table in tables]))

    def __reduce__(self) -> tuple[Any, ...]:
        return FileTable, (self.folder, self.columns)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, position: int) -> ImageFile: ...
    @overload
    def __getitem__(self, position: slice | np.ndarray) -> "FileTable": ...
    def __getitem__(self, position: int | slice | np.ndarray) -> "ImageFile | FileTable":
        """Return a file by its position, or a table of some by a slice, positions or a mask."""
        if isinstance(position, slice | np.ndarray):
            return self._part(self._rows[position])
        return self._columns.files(self.folder, self._rows[position : position + 1 or None])[0]

    def __iter__(self) -> Iterator[ImageFile]:
        for part in self.parts():
            yield from self._columns.files(self.folder, part._rows)

    def parts(self) -> Iterator["FileTable"]:
        """Yield some thousand files at a time."""
        return (self[start : start + CHUNK] for start in range(0, len(self), CHUNK))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FileTable):
            return NotImplemented
        if len(self) != len(other) or self.folder != other.folder:
            return False
        same = self._columns is other._columns and np.array_equal(self._rows, other._rows)
        return same or bool(self._plain().equals(other._plain()))

    def __repr__(self) -> str:
        return f"FileTable({str(self.folder)!r}, {len(self):,} files)"

    def _part(self, rows: np.ndarray) -> "FileTable":
        return FileTable(self.folder, self._columns, rows)

    def _plain(self) -> Any:
        """Return the columns with texts in place of numbers, to be compared."""
        fields = ((field.name, pa.large_string()) for field in SCHEMA if field.type == TEXTS)
        return self.columns.cast(pa.schema({f.name: f.type for f in SCHEMA} | dict(fields)))

    @property
    def columns(self) -> Any:
        """The files as an Arrow table of :data:`SCHEMA`."""
        table = self._columns.table
        every = len(self) == len(table) and bool((self._rows == np.arange(len(self))).all())
        return table if every else table.take(pa.array(self._rows))

    @property
    def names(self) -> Any:
        """The names as an Arrow array."""
        return self._columns.array("name").take(pa.array(self._rows))

    @property
    def labels(self) -> Codes:
        """The classes."""
        return self._codes("label")

    @property
    def given(self) -> Codes:
        """The splits that the data give, empty for none."""
        return self._codes("given")

    @property
    def groups(self) -> Codes:
        """The groups, empty for none."""
        return self._codes("group")

    @property
    def ranges(self) -> ValueRanges:
        """The values that become black and white in those of more than 8 bits, if there are any."""
        ranges = map(_ranges_of, self._codes("ranges").present)
        return next((each for each in ranges if each != DEFAULT_RANGES), DEFAULT_RANGES)

    def each_ranges(self) -> tuple[np.ndarray, list[ValueRanges]]:
        """Return for each file the number of its ranges of values, ``(n,)``, and these."""
        codes = self._codes("ranges")
        return codes.numbers, [*map(_ranges_of, codes.texts)]

    @property
    def contents(self) -> np.ndarray:
        """The content hashes, ``(n, 16)`` uint8; zeros for what was not read."""
        return self._columns.contents[self._rows]

    def paths(self) -> Iterator[str]:
        """Yield the path of each file as a text, in a quarter of the time of making the files."""
        for name in map(decode_name, self.names.to_pylist()):
            yield name if "://" in name else os.path.join(self.folder, name)  # noqa: PTH118

    def below(self) -> Iterator[str]:
        """Yield the path of each file below its class folder, or the folder of its table."""
        for part in self.parts():
            yield from self._columns.below(part._rows)

    def content_numbers(self) -> np.ndarray:
        """Return a number for each file, from 0 in the order of the files, of one content one."""
        numbers = self.content_array().dictionary_encode().indices.to_numpy()
        return cast(np.ndarray, numbers.astype(np.int64))

    def copies(self) -> tuple[np.ndarray, np.ndarray]:
        """Return where files are whose content an earlier one has, and where the first of it is."""
        numbers = self.content_numbers()
        originals = np.unique(numbers, return_index=True)[1][numbers]
        copies = np.flatnonzero(originals != np.arange(len(self)))
        return copies, originals[copies]

    def by_label(self) -> dict[str, "FileTable"]:
        """Return the files of each class."""
        labels = self.labels
        order = np.argsort(labels.numbers, kind="stable")
        ends = np.cumsum(np.bincount(labels.numbers, minlength=len(labels.texts)))
        parts = zip(labels.texts, np.split(order, ends[:-1]), strict=True) if labels.texts else ()
        return {label: self[places] for label, places in parts if len(places)}

    def content_array(self) -> Any:
        """Return the content hashes as an Arrow array of 16 bytes each."""
        return fixed_array(self.contents)

    def hashes(self) -> list[str]:
        """Return the content hashes as texts of 32 hexadecimal digits; use it for some files."""
        digits, width = self.contents.tobytes().hex(), 2 * HASH_BYTES
        return [digits[width * i : width * (i + 1)] for i in range(len(self))]

    def units(self) -> list[str]:
        """Return what each file must stay together with: its group, or its copies."""
        groups = self.groups
        pairs = zip(groups.numbers.tolist(), self.hashes(), strict=True)
        return [groups.texts[number] or content for number, content in pairs]

    def positions(self, names: Sequence[str]) -> dict[str, int]:
        """Return where files of some names are; names that no file has are missing."""
        wanted = pa.array(list(names), pa.large_string())
        found = pc.index_in(self.names, value_set=wanted)
        places = np.flatnonzero(found.is_valid())
        numbers = found.take(pa.array(places)).to_pylist()
        return {names[k]: place for k, place in zip(numbers, places.tolist(), strict=True)}

    def replaced(self, **columns: Any) -> "FileTable":
        """Return the files with other values in some columns: arrays, or one value for all."""
        table = self.columns
        for name, values in columns.items():
            index, field = SCHEMA.get_field_index(name), SCHEMA.field(name)
            table = table.set_column(index, field, _column(values, field.type, len(self)))
        return FileTable(self.folder, table)

    def _codes(self, name: str) -> Codes:
        numbers, texts = self._columns.codes(name)
        return Codes(numbers[self._rows], texts)


class _Columns:
    """The columns that tables share."""

    def __init__(self, table: Any) -> None:
        self.table = table.unify_dictionaries().combine_chunks()
        self._codes: dict[str, Codes] = {}

    def __len__(self) -> int:
        return cast(int, self.table.num_rows)

    def array(self, name: str) -> Any:
        chunks = self.table.column(name).chunks
        return chunks[0] if chunks else pa.array([], self.table.schema.field(name).type)

    def codes(self, name: str) -> Codes:
        if name not in self._codes:
            array = self.array(name)
            texts = tuple(array.dictionary.to_pylist())
            self._codes[name] = Codes(array.indices.to_numpy(), texts)
        return self._codes[name]

    @cached_property
    def contents(self) -> np.ndarray:
        return fixed_bytes(self.array("content"))

    @cached_property
    def _inner(self) -> np.ndarray:
        return cast(np.ndarray, self.array("inner").to_numpy())

    def below(self, rows: np.ndarray) -> Iterator[str]:
        names = self.array("name").take(pa.array(rows)).to_pylist()
        return (name[k:] for name, k in zip(names, self._inner[rows].tolist(), strict=True))

    def files(self, folder: Path, rows: np.ndarray) -> list[ImageFile]:
        """Make the files at some rows."""
        names = self.array("name").take(pa.array(rows)).to_pylist()
        contents, inner = self.contents[rows], self._inner[rows].tolist()
        columns = (self.codes(name) for name in ("label", "given", "group", "ranges"))
        texts = ([its.texts[k] for k in its.numbers[rows].tolist()] for its in columns)
        return [
            ImageFile(
                photo_path(folder, decode_name(name)),
                name,
                label,
                content.tobytes().hex() if content.any() else "",
                cast(Split, given) or None,
                group,
                name[start:],
                _ranges_of(ranges),
            )
            for name, start, content, label, given, group, ranges in zip(
                names, inner, contents, *texts, strict=True
            )
        ]


def _batch(files: Sequence[ImageFile]) -> Any:
    columns = {
        "name": [file.name for file in files],
        "inner": [len(file.name) - len(file.below) for file in files],
        "label": [file.label for file in files],
        "given": [file.given or "" for file in files],
        "group": [file.group for file in files],
        "content": [bytes.fromhex(file.content) or UNREAD for file in files],
        "ranges": [ranges_text(file.ranges) for file in files],
    }
    arrays = [_column(columns[field.name], field.type, len(files)) for field in SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _column(values: Any, kind: Any, n: int) -> Any:
    """Return an Arrow array of a type, of values or of one for all."""
    if kind == HASH and isinstance(values, np.ndarray):
        return fixed_array(values)
    if isinstance(values, str | bytes | int):
        if kind == TEXTS:
            return code_texts(np.zeros(n, np.int32), [cast(str, values)])
        return pa.repeat(pa.scalar(values, kind), n)
    if kind == TEXTS and not isinstance(values, pa.DictionaryArray):
        values = pa.array(values, pa.large_string()).dictionary_encode()
    return values if isinstance(values, pa.Array) else pa.array(values, kind)


@lru_cache
def ranges_text(ranges: ValueRanges) -> str:
    """Return ranges as a table has them."""
    return json.dumps(ranges)


@lru_cache
def _ranges_of(text: str) -> ValueRanges:
    return ValueRanges(*map(tuple, json.loads(text)))
