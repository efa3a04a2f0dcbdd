"""The files that tables name: found on the disk, each once."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tlearn.data.filenames import quote_name
from tlearn.data.folders import list_folder, named_image, visible
from tlearn.data.layouts import Split, split_of
from tlearn.data.packed_photos import in_shard, photo_path
from tlearn.data.tables import Row, Table
from tlearn.errors import DataError
from tlearn.object_stores import absolute, as_path, entries_of, is_url

Paths = Mapping[str, Sequence[PurePosixPath]]  # by what each file may be called
LEVELS = 3  # of folders below the one of a table, in which its files are searched


class TableFiles:
    """The files of one table.

    A path is relative to the folder of the table, or absolute. Where none of them is, each is the
    end of the path of a file in the folders below, such as ``images/``. The ending of the name of
    an image may be missing. Rows of files that were left out, such as damaged ones of an archive,
    do not count.

    Attributes:
        files: The path of each file with the row that names it, in the order of the table.
        repeated: The files that other rows name again, each with the first of those.
    """

    def __init__(
        self, table: Table, split: Split | None, outside: bool, left_out: Iterable[str] = ()
    ) -> None:
        """Find the files.

        Args:
            table: The table.
            split: The split of rows that name none.
            outside: Whether files outside the folder of the table are allowed.
            left_out: The paths of files that were left out when an archive was unpacked or an
                upload received, and were reported then.

        Raises:
            DataError: If one is not there, not allowed, could be any of several, or has two classes
                or splits.
        """
        self.table, self._split = table, split
        self.folder = absolute(table.path).parent
        self._title = repr(str(table.path))
        self._outside = outside
        self._names: dict[Path, dict[str, list[str]]] = {}  # of each folder, see _key
        self._below: Paths | None = None
        self._left_out = _by_name(map(PurePosixPath, left_out))
        self._places: Counter[str] = Counter()  # how many files are in which folder below
        self.files: list[tuple[Path, Row]] = []
        self.repeated: dict[Path, Row] = {}
        self._find_all()

    def notes(self, name: str) -> Iterator[str]:
        """Yield what to tell of how the table ``name`` was read and its files were found."""
        split = f" as {self._split}" if self._split else ""
        yield f"{len(self.files):,} photos named by {name}{split}: {self.table.columns}"
        if self.table.encoding:
            yield f"{name} is not UTF-8: it was read as {self.table.encoding}"
        for place, n in self._places.most_common(3):
            yield f"{n:,} of them are in {place}/, not beside {name}"
        completed = [(path, row) for path, row in self.files if not row.path.endswith(path.suffix)]
        if completed:
            path, row = completed[0]
            yield f"{len(completed):,} have no file ending in {name}: {row.path!r} is {path.name!r}"

    def _find_all(self) -> None:
        missing: list[Row] = []
        rows: dict[Path, Row] = {}
        every = [replace(row, split=row.split or self._split) for row in self.table.rows]
        paths = [self._find(row) for row in every]
        if not any(paths):  # were some there, files of other folders would be a far guess
            paths = [self._find_below(row) for row in every]
        for path, row in zip(paths, every, strict=True):
            if path is None:
                if not _ending_as(row, self._left_out):
                    missing.append(row)
            elif path in rows:
                self._check_same(rows[path], row)
                self.repeated.setdefault(path, row)
            else:
                rows[path] = row
        if not rows:
            missing = every
        if missing:
            raise DataError(
                f"{self._title} names {len(self.table.rows):,} photos, but "
                f"{len(missing):,} of them cannot be found; the first is "
                f"{quote_name(missing[0].path)} in line {missing[0].line:,}; "
                f"correct the paths, which are relative to {str(self.folder)!r}, or put the "
                f"photos there"
            )
        self.files = list(rows.items())

    def _check_same(self, first: Row, second: Row) -> None:
        """Refuse two rows of one file that say different things."""
        for what, a, b in (
            ("classes", first.label, second.label),
            ("splits", first.split, second.split),
            ("groups", first.group, second.group),
        ):
            if a != b:
                raise DataError(
                    f"{self._title} gives {quote_name(second.path)} two {what}, {a!r} in "
                    f"line {first.line:,} and {b!r} in line {second.line:,}; delete one of them"
                )

    def _find(self, row: Row) -> Path | None:
        """Find the file whose path a row says."""
        path = absolute(as_path(row.path) if is_url(row.path) else self.folder / row.path)
        if not self._outside and not path.is_relative_to(self.folder):
            raise DataError(
                f"line {row.line:,} of {self._title} names {quote_name(row.path)}, which "
                f"is outside the folder of the table; give a path inside it"
            )
        names = self._names_in(path.parent).get(_key(path.name), [])
        if not names and in_shard(row.path):
            packed = photo_path(self.folder, row.path)
            return packed if packed.is_file() else None
        names = [name for name in names if _key(name) == _key(path.name)] or names
        if len(names) > 1:
            raise self._ambiguous(row, names)
        return path.with_name(names[0]) if names else None

    def _find_below(self, row: Row) -> Path | None:
        """Find the one file in the folders below whose path ends as a row says."""
        parts = PurePosixPath(row.path).parts
        if self._below is None:
            self._below = _by_name(_files_below(self.folder, LEVELS))
        candidates = _ending_as(row, self._below)
        candidates = [n for n in candidates if _key(n.name) == _key(parts[-1])] or candidates
        if len(candidates) > 1:
            split = row.split or split_of(self.table.path.stem)
            candidates = [n for n in candidates if split_of(n.parts[0]) == split] or candidates
        if len(candidates) > 1:
            raise self._ambiguous(row, list(map(str, candidates)))
        if not candidates:
            return None
        name = candidates[0]
        self._places["/".join(name.parts[: len(name.parts) - len(parts)])] += 1
        return self.folder / name

    def _ambiguous(self, row: Row, names: Sequence[str]) -> DataError:
        return DataError(
            f"line {row.line:,} of {self._title} names {quote_name(row.path)}, which may "
            f"be {quote_name(names[0])} or {quote_name(names[1])}; write the path of one of them"
        )

    def _names_in(self, folder: Path) -> dict[str, list[str]]:
        """Return the names of the files of a folder by what they may be called."""
        if folder not in self._names:
            names = self._names[folder] = defaultdict(list)
            try:
                files = [entry.name for entry in entries_of(folder) if not entry.is_dir()]
            except (OSError, ValueError):  # a path that the system cannot hold
                files = []
            for name in files:
                for key in _keys(name):
                    names[key].append(name)
        return self._names[folder]

    def unnamed(self) -> list[Path]:
        """Return the images beside those of the table that it does not name."""
        named = dict(self.files)
        beside = {path.parent: None for path in named}
        return [
            folder / name
            for folder in beside
            for key, names in self._names_in(folder).items()
            for name in names
            if key == _key(name) and visible(name) and named_image(Path(name))
            if folder / name not in named
        ]


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _keys(name: str) -> tuple[str, ...]:
    """Return what a file may be called in a table: its name, of an image without ending too."""
    path = Path(name)
    return (_key(name), _key(path.stem)) if named_image(path) else (_key(name),)


def _by_name(paths: Iterable[PurePosixPath]) -> Paths:
    """Return paths by what the file of each may be called."""
    found = defaultdict(list)
    for path in paths:
        for key in _keys(path.name):
            found[key].append(path)
    return found


def _ending_as(row: Row, paths: Paths) -> list[PurePosixPath]:
    """Return the paths that end as a row says."""
    parts = tuple(map(_key, PurePosixPath(row.path).parts))
    if not parts or {"/", ".."} & {*parts}:
        return []
    before = parts[:-1]
    return [
        path
        for path in paths.get(parts[-1], ())
        if tuple(map(_key, path.parts[:-1]))[-len(before) or len(path.parts) :] == before
    ]


def _files_below(folder: Path, levels: int) -> Iterator[PurePosixPath]:
    """Yield the paths of the files in the folders below, relative to it; not those in it."""

    def inner(place: Path, before: tuple[str, ...]) -> Iterator[PurePosixPath]:
        for path in list_folder(place):
            if not path.is_dir():
                if before:
                    yield PurePosixPath(*before, path.name)
            elif len(before) < levels and not path.is_symlink():
                yield from inner(path, (*before, path.name))

    return inner(folder, ())
