"""Archives given as DATA: unpacked once, by content, into the user's cache folder."""

import contextlib
import hashlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from tlearn.cache_folder import cache_folder
from tlearn.csv_files import csv_rows, csv_text
from tlearn.data.archives import HEAD, UNPACKED, Limits, archive_kind, archive_stem
from tlearn.data.filenames import quote_name
from tlearn.data.problems import Problem, summarize
from tlearn.data.process_folder import process_folder
from tlearn.data.unpacking import UnpackResult, unpack
from tlearn.errors import DataError, os_errors_as
from tlearn.object_stores import StorePath
from tlearn.progress import Progress, format_bytes
from tlearn.text import decode_name, encode_name

REPORT = ".upload.csv"  # in the folder of what was unpacked or uploaded: its problems
DISMISSED = ".upload.dismissed"  # beside it: how many of its lines a user has dismissed
COLUMNS = ("file", "kind", "reason")
REFUSED = (".rar", ".7z", ".zst", ".cab", ".lzh", ".arj")  # endings of archives that are not read


def is_archive(path: Path) -> bool:
    """Return whether a file is an archive that is unpacked, by its content or its name.

    Raises:
        DataError: If it is an archive of another kind, or cannot be read.
    """
    what = f"{str(path)!r} cannot be read"
    with os_errors_as(DataError, what, "make it readable"), path.open("rb") as file:
        kind = archive_kind(file.read(HEAD))
    if kind in UNPACKED:
        return True
    if kind or path.suffix.lower() in REFUSED:
        kind = kind or path.suffix[1:].lower()
        raise DataError(
            f"{str(path)!r} is a {kind} archive; zip and tar alone are unpacked: pack its photos "
            f"anew as .zip or .tar.gz"
        )
    return archive_stem(path.name) != path.name


def unpacked_folder(archive: Path, progress: Progress) -> Path:
    """Return the folder in the cache with the photos and tables of an archive.

    They are unpacked, whole or not at all, where they are not there yet.

    Raises:
        DataError: If the archive is damaged, dangerous, too large, or without photos.
    """
    what = f"the archive {str(archive)!r} cannot be unpacked"
    place = archives_folder()
    with os_errors_as(DataError, what, "make room on the disk, or set TLEARN_CACHE to a folder"):
        folder = place / _digest(archive)
        if folder.is_dir():
            return folder
        into = process_folder(place / ".unpacking") / secrets.token_hex(8)
        try:
            with _on_this_machine(archive, into) as local:
                result = unpack(local, archive.name, into, Limits(), progress, tables=True)
            _check_photos(archive, result)
            left_out = [Problem(*problem) for problem in result.left_out]
            write_report(into, [*left_out, *name_problems(result, "", archive.name)])
            if not folder.is_dir():  # else another process was faster
                into.rename(folder)
        finally:
            shutil.rmtree(into, ignore_errors=True)
    progress.say(
        f"{archive.name}: {result.files:,} photos, {format_bytes(result.bytes)}, unpacked into "
        f"{folder}; 'tlearn cache clear' removes them"
    )
    return folder


def _digest(archive: Path) -> str:
    """Return a hash of an archive's content, or of its address and version in a store."""
    if isinstance(archive, StorePath):
        text = f"{archive}|{archive.version()}"
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
    with archive.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=12)).hexdigest()


@contextlib.contextmanager
def _on_this_machine(archive: Path, into: Path) -> Iterator[Path]:
    """Give the path of an archive, of one in a store that of a copy beside a folder."""
    if not isinstance(archive, StorePath):
        yield archive
        return
    copy = into.with_name(f"{into.name}.{archive.name}")
    try:
        archive.download(copy)
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def archives_folder() -> Path:
    """Return the folder of the cache in which archives are unpacked."""
    return cache_folder() / "archives"


def unpacked_bytes() -> int:
    """Return what unpacked archives take on disk."""
    return sum(path.stat().st_size for path in archives_folder().rglob("*") if path.is_file())


def remove_unpacked() -> int:
    """Remove what was unpacked; return the bytes freed."""
    freed = unpacked_bytes()
    for folder in archives_folder().glob("[0-9a-f]*"):
        shutil.rmtree(folder, ignore_errors=True)
    return freed


def name_problems(result: UnpackResult, prefix: str, archive: str) -> list[Problem]:
    """Return what became of the names in an archive.

    Args:
        result: What unpacking it gave.
        prefix: Is put before the names of its files.
        archive: Its own name.
    """
    changed = [
        Problem(prefix + old, "renamed", f"it is {quote_name(new)} now")
        for old, new in result.repaired.items()
    ]
    if not result.encoding:
        return changed
    reason = f"its names are not marked as UTF-8; they were read as {result.encoding}"
    return [Problem(archive, "renamed", reason), *changed]


def write_report(folder: Path, problems: list[Problem]) -> None:
    """Write problems into a folder of photos for :func:`read_report`."""
    if problems:
        rows = [(encode_name(p.name), p.kind, p.reason) for p in problems]
        (folder / REPORT).write_text(csv_text(COLUMNS, rows), "utf-8", newline="")


def read_report(folder: Path) -> list[Problem]:
    """Return the problems of what was unpacked or uploaded into a folder."""
    try:
        rows = csv_rows((folder / REPORT).read_text("utf-8"))
        return [Problem(decode_name(row["file"]), row["kind"], row["reason"]) for row in rows]
    except (OSError, ValueError, KeyError):
        return []  # a damaged report does not make the data unusable


def add_to_report(folder: Path, problems: list[Problem]) -> None:
    """Add problems of photos that came later to the report of a folder."""
    if problems:
        write_report(folder, [*read_report(folder), *problems])


def open_report(folder: Path) -> list[Problem]:
    """Return the problems in the report of a folder that nobody has dismissed."""
    try:
        seen = int((folder / DISMISSED).read_text("ascii"))
    except (OSError, ValueError):
        seen = 0
    return read_report(folder)[seen:]


def dismiss_report(folder: Path) -> None:
    """Dismiss all problems that are in the report of a folder now; they stay in it."""
    (folder / DISMISSED).write_text(str(len(read_report(folder))), "ascii")


def _check_photos(archive: Path, result: UnpackResult) -> None:
    if result.files:
        return
    reasons = summarize([Problem(*problem) for problem in result.left_out])
    raise DataError(
        f"the archive {quote_name(archive.name)} holds no photos{f': {reasons}' * bool(reasons)}; "
        f"pack a folder of photos, or a table with its photos"
    )
