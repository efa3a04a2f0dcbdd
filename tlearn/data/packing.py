"""Packing a data set into shards, for stores in which many small files do not belong."""

import contextlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast, get_args

import numpy as np

from tlearn.data import images
from tlearn.data.edits import Change, append_edits, edits_path
from tlearn.data.file_reading import content_hash
from tlearn.data.file_table import FileTable, ImageFile
from tlearn.data.filenames import class_folder_name
from tlearn.data.prefetch import prefetch_map, readers
from tlearn.data.scan import Manifest, scan
from tlearn.data.shard_index import ANNOTATIONS
from tlearn.data.shards import UNFINISHED, shard_source
from tlearn.errors import ConfigError, DataError, StoreError, os_errors_as
from tlearn.object_stores import StorePath, entries_of
from tlearn.progress import Progress, Silent
from tlearn.text import decode_name, numbered_names

Form = Literal["webdataset", "parquet"]
SHARD = 2**28  # bytes of photos after which another shard is begun
GROUP = 2**23  # bytes of photos after which a .parquet has another row group: what is read at once


def pack(
    data: Path,
    out: Path,
    form: Form = "webdataset",
    shard_bytes: int = SHARD,
    progress: Progress | None = None,
) -> Manifest:
    """Write the readable photos of a data set, edits applied, into shards: all of them, or none.

    Every photo is read again from its shard, and compared by its content hash. Groups become edits
    beside the shards. What a killed process has left is marked as unfinished, and not read by any
    command.

    Args:
        data: The data set.
        out: The folder to make, on this machine or in a store.
        form: ``webdataset`` for ``.tar`` with ``KEY.jpg`` and ``KEY.cls``; ``parquet`` as Hugging
            Face's ``datasets`` write it.
        shard_bytes: Bytes of photos after which another shard is begun.
        progress: Shows what is done.

    Returns:
        The manifest of ``data``.

    Raises:
        ConfigError: If there is no such form.
        DataError: If ``out`` exists or cannot be written, or a photo changes meanwhile.
    """
    if form not in get_args(Form):
        allowed = ", ".join(get_args(Form))
        raise ConfigError(f"format must be one of {allowed}. Received: {form!r}")
    progress = progress or Silent()
    if out.exists() or edits_path(out).exists():
        raise _taken(out)
    manifest = scan(data, progress=progress)
    groups: list[Change] = []
    with _place(out) as (folder, finish):
        with progress.task("packing photos", len(manifest.files), "files") as task:
            for shard, part in _write(manifest, folder, form, shard_bytes):
                for name, file in zip(_verified(shard, part), part, strict=True):
                    if file.group:
                        groups.append(Change(name, "group", file.group))
                finish(shard)
                task.advance(len(part))
        if groups:
            append_edits(out, groups)
    return manifest


def _taken(out: Path) -> DataError:
    return DataError(f"{str(out)!r} exists already, or has edits; choose another place")


@contextlib.contextmanager
def _place(out: Path) -> Iterator[tuple[Path, Callable[[Path], None]]]:
    """Give a folder to write shards to, and what to call with each.

    Of several processes one has the place. A file in it says so until no error was raised; then
    shards and edits stay, else nothing does.
    """
    there = [out / UNFINISHED]
    with os_errors_as(DataError, f"{str(out)!r} cannot be written", "choose another place"):
        _take(out)
        try:
            if isinstance(out, StorePath):
                with tempfile.TemporaryDirectory() as temporary:
                    yield Path(temporary), lambda shard: _upload(shard, out, there)
            else:
                yield out, lambda shard: there.append(shard)
            there[0].unlink()
        except BaseException:
            for path in (*reversed(there), edits_path(out)):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            if not isinstance(out, StorePath):
                shutil.rmtree(out, ignore_errors=True)
            raise


def _take(out: Path) -> None:
    """Make a folder, and write into it that it is unfinished.

    Raises:
        DataError: If another process has made it.
    """
    note, text = out / UNFINISHED, b"'tlearn data pack' has not written all shards yet\n"
    try:
        if isinstance(note, StorePath):
            note.create(text)
            if len(entries_of(out)) > 1:  # of one that has ended since this one looked
                note.unlink()
                raise _taken(out)
        else:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.mkdir()
            note.write_bytes(text)
    except FileExistsError:
        raise _taken(out) from None


def _upload(shard: Path, out: Path, there: list[Path]) -> None:
    """Move a shard into a store, and note it."""
    target = out / shard.name
    there.append(target)
    cast(StorePath, target).upload(shard)
    shard.unlink()


def _write(
    manifest: Manifest, folder: Path, form: Form, shard_bytes: int
) -> Iterator[tuple[Path, list[ImageFile]]]:
    """Write shards; yield each with its photos."""
    write, ending = _WRITERS[form]
    given = manifest.files.given
    for split, name in enumerate(given.texts):
        files = manifest.files[np.flatnonzero(given.numbers == split)]
        for number, part in enumerate(_parts(files, shard_bytes)):
            shard = folder / f"{name or 'photos'}-{number:05d}{ending}"
            write(shard, part, manifest.labels)
            yield shard, [file for file, _ in part]


def _verified(shard: Path, files: Sequence[ImageFile]) -> Iterator[str]:
    """Yield the names of the photos of a shard, each compared with what was packed."""
    packed = shard_source(shard.parent, [shard]).files
    if len(packed) != len(files):
        raise DataError(f"of {len(files)} photos {len(packed)} are in their shard; start again")
    hashes = prefetch_map(lambda file: content_hash(images.read_bytes(file.path)), packed)
    for found, file, digest in zip(packed, files, hashes, strict=True):
        if (found.label, found.given, digest) != (file.label, file.given, file.content):
            raise DataError(f"{file.name!r} is not in its shard as it was; start again")
        yield found.name


def _parts(files: FileTable, shard_bytes: int) -> Iterator[list[tuple[ImageFile, bytes]]]:
    """Yield the photos of each shard with their contents."""
    part: list[tuple[ImageFile, bytes]] = []
    size = 0
    threads = readers(file.path for file in files[:1])
    for file, content in prefetch_map(_content, files, threads=threads):
        part.append((file, content))
        size += len(content)
        if size >= shard_bytes:
            yield part
            part, size = [], 0
    if part:
        yield part


def _content(file: ImageFile) -> tuple[ImageFile, bytes]:
    try:
        content = images.read_bytes(file.path)
    except StoreError as error:
        raise DataError(str(error)) from None
    except DataError as error:
        raise DataError(f"{str(file.path)!r} changed since it was scanned: {error}") from None
    if content_hash(content) != file.content:
        raise DataError(f"{str(file.path)!r} changed since it was scanned; start again")
    return file, content


def _write_tar(path: Path, part: Sequence[tuple[ImageFile, bytes]], labels: Sequence[str]) -> None:
    """Write a ``.tar``: for each photo ``CLASS/NAME.jpg`` and its class in ``CLASS/NAME.cls``."""
    used: set[str] = set()
    with tarfile.open(path, "w") as archive:
        for file, content in part:
            name = PurePosixPath(decode_name(file.below))
            stem = name.stem.replace(".", "_") or "photo"  # a key ends at the first dot
            first = f"{class_folder_name(file.label)}/{stem}"
            key = next(k for k in numbered_names(first) if k not in used)
            used.add(key)
            suffix = name.suffix.lower()
            if not suffix or suffix[1:] in ANNOTATIONS:  # a photo all the same, by its content
                suffix = ".jpg"
            _add(archive, f"{key}{suffix}", content)
            _add(archive, f"{key}.cls", file.label.encode())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    archive.addfile(member, io.BytesIO(content))


def _write_parquet(
    path: Path, part: Sequence[tuple[ImageFile, bytes]], labels: Sequence[str]
) -> None:
    """Write a ``.parquet`` with ``image: {bytes, path}`` and the number of each ``label``."""
    import pyarrow
    from pyarrow import parquet

    numbers = {label: i for i, label in enumerate(labels)}
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"names": list(labels), "_type": "ClassLabel"},
    }
    schema = pyarrow.schema(
        {
            "image": pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()}),
            "label": pyarrow.int64(),
        },
        {"huggingface": json.dumps({"info": {"features": features}})},
    )
    with parquet.ParquetWriter(path, schema, compression="none") as writer:
        rows: list[dict[str, Any]] = []
        size = 0
        for file, content in part:
            image = {"bytes": content, "path": PurePosixPath(file.below).name}
            rows.append({"image": image, "label": numbers[file.label]})
            size += len(content)
            if size >= GROUP:
                writer.write_table(pyarrow.Table.from_pylist(rows, schema))
                rows, size = [], 0
        if rows:
            writer.write_table(pyarrow.Table.from_pylist(rows, schema))


_WRITERS = {"webdataset": (_write_tar, ".tar"), "parquet": (_write_parquet, ".parquet")}
