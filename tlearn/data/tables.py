"""Tables of photos: CSV or JSON Lines with a path and a class per line, as Kaggle gives them.

The columns are known by their usual names (``path,label[,split,group]`` and variants), in any order
and any case. A CSV file may have commas, semicolons, tabs or bars between its cells.
"""

import codecs
import csv
import io
import json
import re
import unicodedata
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa

from tlearn.data.archives import detect_encoding
from tlearn.data.columns import CHUNK, NAMES, Codes
from tlearn.data.filenames import quote_name, validate_class_name
from tlearn.data.layouts import Split, split_of
from tlearn.data.prefetch import batched
from tlearn.errors import DataError, os_errors_as
from tlearn.text import decode_name, encode_name

CSV, JSON_LINES = frozenset({".csv", ".tsv"}), frozenset({".jsonl", ".ndjson"})
ENDINGS = CSV | JSON_LINES
SHOWN = 8  # columns named in a line
HEAD = 1 << 16  # bytes that are read to know the columns alone
ADVICE = "its first line should name the columns, such as path,label"
_DELIMITERS = ",;\t|"
# Names of columns in lower case with _ between words, those that say it best first.
_PATHS = (
    "file_name filename path file_path filepath filepaths file files image_path img_path "
    "image_file image_name img_name image_filename image images img photo photos picture image_id "
    "imageid img_id photo_id id name"
).split()
_LABELS = (
    "label_name class_name classname category_name label labels class classes target category "
    "species breed diagnosis tag y label_id class_id target_id category_id label_idx class_index"
).split()
_SPLITS = "split splits subset partition data_set dataset_split data_split".split()
_GROUPS = "group groups group_id patient patient_id subject subject_id".split()
_LINE_NUMBERS = ("", "unnamed_0", "index")  # columns that programs add


@dataclass(frozen=True)
class Columns:
    """Which column of a table is what; empty where there is none."""

    path: str
    label: str = ""
    split: str = ""
    group: str = ""

    @property
    def missing(self) -> str:
        """What has no column: ``paths``, ``classes`` or nothing."""
        return "" if self.path and self.label else "classes" if self.path else "paths"

    def __str__(self) -> str:
        """Describe them for a line."""
        parts = [f"paths from {self.path!r}"]
        parts += [f"classes from {self.label!r}"] * bool(self.label)
        parts += [f"splits from {self.split!r}"] * bool(self.split)
        parts += [f"groups from {self.group!r}"] * bool(self.group)
        return ", ".join(parts)


class Row(NamedTuple):
    """One line of a table.

    Attributes:
        line: Its number in the file, from 1.
        path: As it stands there, with ``/`` between its parts.
        label: The class.
        split: The split it names, if any.
        group: Photos of one group are put into one split; empty for none.
    """

    line: int
    path: str
    label: str
    split: Split | None = None
    group: str = ""


@dataclass(frozen=True)
class Table:
    """A table of photos, read but not compared with what is on the disk: some 20 bytes a line.

    Attributes:
        columns: Which column is what.
        lines: The number of each line, ``(n,)`` int64.
        paths: The paths as they stand there, encoded as names, as an Arrow array.
        labels: The classes.
        splits: The splits, empty for none.
        groups: The groups, empty for none.
        encoding: The encoding of its text where that is not UTF-8, else empty.
    """

    path: Path
    columns: Columns
    lines: np.ndarray
    paths: Any
    labels: Codes
    splits: Codes
    groups: Codes
    encoding: str = ""

    def __len__(self) -> int:
        return len(self.lines)

    def row(self, i: int) -> Row:
        """Return a line by its position."""
        codes = (self.labels, self.splits, self.groups)
        label, split, group = (code.texts[code.numbers[i]] for code in codes)
        path = decode_name(self.paths[i].as_py())
        return Row(int(self.lines[i]), path, label, cast(Split, split) or None, group)


class _Column:
    """Texts of which many are the same, while they are read."""

    def __init__(self) -> None:
        self.numbers, self.number_of = array("i"), dict[str, int]()

    def append(self, text: str) -> None:
        self.numbers.append(self.number_of.setdefault(text, len(self.number_of)))

    def codes(self) -> Codes:
        return Codes(np.array(self.numbers, np.int32), (*self.number_of,))


def is_table(path: Path) -> bool:
    """Return whether a file's name ends as that of a table."""
    return path.suffix.lower() in ENDINGS


def read_table(path: Path, classes: bool = True) -> Table:
    """Read a table; without ``classes`` its paths alone, whatever else is in it.

    Raises:
        DataError: If it cannot be read, has no known columns, one of them twice, or no lines, or a
            line is damaged or lacks a path or a class, or names an unknown split.
    """
    names, cells, encoding = _read_cells(path)
    columns = known_columns(names)
    if columns.missing == "paths" or (columns.missing and classes):
        raise DataError(_no_column(path, names, columns.missing))
    if not classes:
        columns = Columns(columns.path)
    for name in astuple(columns):
        if name and names.count(name) > 1:
            raise DataError(f"{str(path)!r} has two columns {quote_name(name)}; rename one of them")
    lines, paths = array("q"), list[Any]()
    codes = [_Column() for _ in range(3)]
    rows = (_row(path, line, cell, columns) for line, cell in cells)
    for part in batched(rows, CHUNK):
        paths.append(pa.array([encode_name(row.path) for row in part], NAMES))
        for row in part:
            lines.append(row.line)
            for column, text in zip(codes, (row.label, row.split or "", row.group), strict=True):
                column.append(text)
    if not lines:
        raise DataError(f"{str(path)!r} names no photos; give it a line for each photo")
    numbers, labels, splits, groups = np.array(lines), *(column.codes() for column in codes)
    joined = pa.chunked_array(paths).combine_chunks()
    table = Table(path, columns, numbers, joined, labels, splits, groups, encoding)
    if classes:
        _check_labels(table)
    return table


def _check_labels(table: Table) -> None:
    firsts = np.unique(table.labels.numbers, return_index=True)[1]
    for first in np.sort(firsts).tolist():
        row = table.row(first)
        try:
            validate_class_name(row.label)
        except DataError as error:
            raise DataError(f"in line {row.line:,} of {str(table.path)!r}: {error}") from None


def unknown_columns(path: Path) -> str:
    """Return why a file has no columns called as paths and classes are, or an empty text."""
    try:
        names = _read_cells(path, HEAD)[0]
    except DataError as error:
        return str(error)
    missing = known_columns(names, guess=False).missing
    return _no_column(path, names, missing) if missing else ""


def _no_column(path: Path, names: Sequence[str], missing: str) -> str:
    if not names:
        return f"{str(path)!r} is empty; {ADVICE}"
    listed = ", ".join(map(quote_name, names[:SHOWN]))
    listed += f" and {len(names) - SHOWN} more" if names[SHOWN:] else ""
    return f"{str(path)!r} has no column of {missing}, but {listed}; {ADVICE}"


def known_columns(names: Sequence[str], guess: bool = True) -> Columns:
    """Find the columns by their usual names.

    Where no column is called as classes usually are, and there is only one that is not known as
    anything else, that is it with ``guess``.
    """
    plain = {_plain(name): name for name in reversed(names)}

    def first(usual: Sequence[str]) -> str:
        return next((plain[name] for name in usual if name in plain), "")

    path, label, split, group = map(first, (_PATHS, _LABELS, _SPLITS, _GROUPS))
    known = (*_LINE_NUMBERS, *map(_plain, (path, split, group)))
    others = [name for name in names if _plain(name) not in known]
    if guess and not label and len(others) == 1:
        label = others[0]
    return Columns(path, label, split, group)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")


def _row(path: Path, line: int, cells: Mapping[str, str], columns: Columns) -> Row:
    """Make a row of the cells of a line.

    Raises:
        DataError: If the path, the class or the split cannot be used.
    """
    where = f"line {line:,} of {str(path)!r}"
    name = cells[columns.path].replace("\\", "/")
    label = unicodedata.normalize("NFC", cells[columns.label]) if columns.label else ""
    for value, what, column in ((name, "path", columns.path), (label, "class", columns.label)):
        if column and not value:
            raise DataError(f"{where} has no {what} in {column!r}; give it one, or delete the line")
    text = cells[columns.split] if columns.split else ""
    split = split_of(text) if text else None
    if text and split is None:
        raise DataError(
            f"{where} has the split {quote_name(text)}; a split is train, validation or test, or "
            f"empty to be drawn; correct it, or give the column {columns.split!r} another name"
        )
    return Row(line, name, label, split, cells[columns.group] if columns.group else "")


Cells = Iterator[tuple[int, dict[str, str]]]  # the number of each line, and its cells by column


def _read_cells(path: Path, most: int = -1) -> tuple[list[str], Cells, str]:
    """Return the names of the columns, the lines below them, and the encoding if not UTF-8.

    With ``most``, only the lines in so many bytes are read.

    Raises:
        DataError: If the file cannot be read; the lines raise it if one is damaged.
    """
    what = f"the table {str(path)!r} cannot be read"
    with os_errors_as(DataError, what, "make it readable"), path.open("rb") as file:
        data = file.read(most)
    if len(data) == most:
        data = data[: data.rfind(b"\n") + 1]
    encoding = _encoding_of(data)
    read = _json_cells if path.suffix.lower() in JSON_LINES else _csv_cells
    return *read(path, data, encoding or "utf-8-sig"), encoding


def _encoding_of(data: bytes) -> str:
    """Return the encoding of a text, empty for UTF-8."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):  # as spreadsheets write "Unicode text"
        return "utf-16"
    with suppress(UnicodeDecodeError):
        for _ in codecs.iterdecode(io.BytesIO(data), "utf-8"):  # line by line, and none is held
            pass
        return ""
    return detect_encoding(io.BytesIO(data))


def _csv_cells(path: Path, data: bytes, encoding: str) -> tuple[list[str], Cells]:
    first = data[:HEAD].decode(encoding, "replace").lstrip().partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    text = io.TextIOWrapper(io.BytesIO(data), encoding, "replace", newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)

    def rows() -> Iterator[tuple[int, list[str]]]:
        try:
            for row in reader:
                if cells := [cell.strip() for cell in row] if any(map(str.strip, row)) else []:
                    yield reader.line_num, cells
        except csv.Error as error:
            raise DataError(
                f"line {reader.line_num:,} of {str(path)!r} is damaged ({error}); correct it"
            ) from None

    below = rows()
    _, columns = next(below, (0, []))

    def cells() -> Cells:
        for line, row in below:
            if len(row) < len(columns) or any(row[len(columns) :]):
                raise DataError(
                    f"line {line:,} of {str(path)!r} has {len(row)} cells, where the first line "
                    f"names {len(columns)} columns; leave no cell out, and put texts "
                    f"with a {delimiter!r} into quotes"
                )
            yield line, dict(zip(columns, row, strict=False))

    return columns, cells()


def _json_cells(path: Path, data: bytes, encoding: str) -> tuple[list[str], Cells]:
    text = io.TextIOWrapper(io.BytesIO(data), encoding, "replace", newline="\n")
    lines = ((i, line) for i, line in enumerate(text, 1) if line.strip())
    first = next(lines, None)
    columns = list(_json_line(path, *first)) if first else []

    def cells() -> Cells:
        for i, line in chain([first] if first else [], lines):
            values = _json_line(path, i, line)
            yield i, {column: values.get(column, "") for column in columns}

    return columns, cells()


def _json_line(path: Path, i: int, line: str) -> dict[str, str]:
    """Return the texts and numbers of an object; its lists and objects count as empty.

    Raises:
        DataError: If it is no object.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise DataError(
            f'line {i:,} of {str(path)!r} is no JSON object such as {{"path": "a.jpg", '
            f'"label": "cat"}}; give each photo such a line'
        )
    return {name: _text(value) for name, value in values.items()}


def _text(value: object) -> str:
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value) if isinstance(value, int | float) else ""
