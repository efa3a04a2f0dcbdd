"""Photos packed into shards: WebDataset's ``.tar`` and Hugging Face's ``.parquet``.

A photo in a shard has a path: that of the shard, and its name inside. It is read from there, by a
range of bytes of a ``.tar`` or a row group of a ``.parquet``; nothing is unpacked.

- In a ``.tar`` (https://github.com/webdataset/webdataset) files that differ in their ending alone
  are one sample: the photo, and perhaps its class as text in a ``.cls`` file, or under ``label`` or
  ``cls`` in a ``.json`` file. Without these the folder of a photo is its class.
- A ``.parquet`` has a column ``image``, of bytes or of ``{bytes, path}``, and a column ``label`` of
  texts, or of numbers with their names in the metadata, as Hugging Face's ``datasets`` write it.
"""

import errno
import io
import json
import os
import tarfile
import threading
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, cast

from tlearn.errors import DataError, one_line
from tlearn.object_stores import StorePath, as_path

ENDINGS = (".tar", ".parquet")
IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img"), ("label", "labels", "class")
LABELS = ("cls", "json")  # endings of files in a .tar that may give a class
ANNOTATIONS = (*LABELS, "txt")  # and of those that are no photos
INDEXES, GROUPS = 256, 8  # shards whose index, and row groups that are in memory


class Sample(NamedTuple):
    """A photo of a shard: its name there, its class, and where it is in a ``.tar``."""

    name: str
    label: str
    start: int = 0
    size: int = 0


class PackedPath(StorePath):
    """The path of a photo in a shard, on this machine or in a store."""

    def _sample(self) -> tuple[Path, Sample]:
        """Return the shard, and what it has of the photo."""
        folder = next((p for p in self.parents if p.suffix.lower() in ENDINGS), self)
        shard = as_path(str(folder))
        sample = _index(shard).get(str(self.relative_to(folder)))
        if sample is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return shard, sample

    def info(self) -> dict[str, Any]:
        """Return that it is a file, and its size, 0 in a ``.parquet``.

        Raises:
            FileNotFoundError: If it is not in the shard.
        """
        _, sample = self._sample()
        return {"type": "file", "size": sample.size, "version": (sample.start, sample.size)}

    def read_bytes(self) -> bytes:
        """Return its content.

        Raises:
            OSError: If it cannot be read.
        """
        shard, sample = self._sample()
        if shard.suffix.lower() == ".parquet":
            return _photo_of_row(shard, sample.start)
        if isinstance(shard, StorePath):
            return shard.read_range(sample.start, sample.size)
        with shard.open("rb") as file:
            file.seek(sample.start)
            return file.read(sample.size)

    def open_with(self, **options: Any) -> IO[bytes]:
        """Open its content, which is read whole."""
        return io.BytesIO(self.read_bytes())

    def download(self, target: Path) -> None:
        """Write it to a file of this machine."""
        target.write_bytes(self.read_bytes())


def photo_path(folder: Path, name: str) -> Path:
    """Return the path of a photo of a manifest, by the folder and its decoded name in it."""
    # A table may name it in a store: no other path has two slashes after each other.
    path = as_path(name) if "://" in name else folder / name
    return cast(Path, PackedPath(str(path))) if in_shard(name) else path


def in_shard(name: str) -> bool:
    """Return whether a path leads into what is called as shards are."""
    return any(f"{ending}/" in name.lower() for ending in ENDINGS)


def samples_of(shard: Path) -> list[Sample]:
    """Return the photos of a shard.

    Raises:
        DataError: If it is damaged, or has no photos with classes.
    """
    return list(_index(shard).values())


def forget_shards() -> None:
    """Forget what is known of shards, which may be others by now."""
    for known in (_index, _groups_of, _group):
        known.cache_clear()


@lru_cache(maxsize=INDEXES)
def _index(shard: Path) -> dict[str, Sample]:
    """Return the photos of a shard by their names.

    Raises:
        DataError: If it is damaged.
    """
    read = _parquet_samples if shard.suffix.lower() == ".parquet" else _tar_samples
    try:
        samples = read(shard)
    except DataError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"the shard {str(shard)!r} cannot be read: {reason}") from None
    except Exception as error:  # noqa: BLE001 - of tarfile and pyarrow
        raise DataError(
            f"the shard {str(shard)!r} cannot be read: {one_line(error)}; make it anew"
        ) from None
    index = {sample.name: sample for sample in samples}
    for name in index:
        if not name or name.startswith("/") or ".." in name.split("/"):
            raise DataError(f"the shard {str(shard)!r} holds the name {name!r}; make it anew")
    if len(index) < len(samples):
        raise DataError(f"the shard {str(shard)!r} holds two photos of one name; make it anew")
    return index


def _open(shard: Path, **options: Any) -> IO[bytes]:
    """Open a shard, of a store with options of fsspec."""
    return shard.open_with(**options) if isinstance(shard, StorePath) else shard.open("rb")


def _tar_samples(shard: Path) -> list[Sample]:
    photos: list[tarfile.TarInfo] = []
    labels: dict[str, str] = {}
    with _open(shard, block_size=2**22) as file, tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            key, ending = _key_and_ending(member.name)
            if not member.isfile() or PurePosixPath(member.name).name.startswith("."):
                continue
            if ending.rpartition(".")[2] not in ANNOTATIONS:
                photos.append(member)
            elif ending in LABELS:
                content = archive.extractfile(member)
                label = _label_in(content.read() if content else b"", ending)
                labels |= {key: label} if label else {}
    samples = []
    for photo in photos:
        key, _ = _key_and_ending(photo.name)
        label = labels.get(key, PurePosixPath(photo.name).parent.name)
        samples.append(Sample(photo.name.removeprefix("./"), label, photo.offset_data, photo.size))
    return samples


def _key_and_ending(name: str) -> tuple[str, str]:
    """Return what the files of a sample have in common, and the ending: after the first dot."""
    path = PurePosixPath(name)
    stem, _, ending = path.name.partition(".")
    return str(path.with_name(stem or path.name)), ending.lower()


def _label_in(content: bytes, ending: str) -> str:
    text = content.decode("utf-8", "replace").strip("\r\n")
    if ending == "cls":
        return text
    try:
        values = json.loads(text)
    except ValueError:
        return ""
    names = ("label", "cls", "class")
    found = [values[name] for name in names if name in values] if isinstance(values, dict) else []
    return str(found[0]) if found else ""


class _Columns(NamedTuple):
    image: str
    bytes: str  # the column of bytes, inside the image perhaps
    path: str | None
    label: str


def _columns_of(schema: Any, shard: Path) -> _Columns:
    import pyarrow

    image = next((name for name in IMAGE_COLUMNS if name in schema.names), None)
    label = next((name for name in LABEL_COLUMNS if name in schema.names), None)
    if image is None or label is None:
        raise DataError(
            f"{str(shard)!r} has the columns {', '.join(schema.names)}; photos are in 'image', of "
            f"bytes or {{bytes, path}}, and classes in 'label'"
        )
    kind = schema.field(image).type
    if not pyarrow.types.is_struct(kind):
        return _Columns(image, image, None, label)
    has_path = kind.get_field_index("path") >= 0
    return _Columns(image, f"{image}.bytes", f"{image}.path" if has_path else None, label)


def _parquet_samples(shard: Path) -> list[Sample]:
    from pyarrow import parquet

    with _open(shard, cache_type="none") as file, parquet.ParquetFile(file) as table:
        columns = _columns_of(table.schema_arrow, shard)
        wanted = [columns.label, *([columns.path] if columns.path else [])]
        content = table.read(columns=wanted)
        classes = _class_names(table.schema_arrow.metadata or {}, columns.label)
    labels = content.column(columns.label).to_pylist()
    paths = content.column(columns.image).to_pylist() if columns.path else [None] * len(labels)
    digits = len(str(len(labels)))
    samples = []
    for row, (label, image) in enumerate(zip(labels, paths, strict=True)):
        name = PurePosixPath((image or {}).get("path") or "photo").name
        if classes and isinstance(label, int) and 0 <= label < len(classes):
            label = classes[label]
        text = "" if label is None else str(label)
        samples.append(Sample(f"{row:0{digits}d}-{name}", text, row))
    return samples


def _class_names(metadata: dict[bytes, bytes], label: str) -> list[str]:
    """Return the names of numbers that stand for classes, as ``datasets`` write them."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[label]["names"]]
    except (KeyError, TypeError, ValueError):
        return []


def _photo_of_row(shard: Path, row: int) -> bytes:
    for group, first, count in _groups_of(shard):
        if row < first + count:
            content = _group(shard, group).content()[row - first]
            return bytes(content or b"")
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(shard))


@lru_cache(maxsize=INDEXES)
def _groups_of(shard: Path) -> list[tuple[int, int, int]]:
    """Return number, first row and rows of each row group."""
    from pyarrow import parquet

    groups, first = [], 0
    with _open(shard, cache_type="none") as file, parquet.ParquetFile(file) as table:
        for number in range(table.metadata.num_row_groups):
            groups.append((number, first, table.metadata.row_group(number).num_rows))
            first += groups[-1][2]
    return groups


class _Group:
    """A row group, read once by the thread that comes first."""

    def __init__(self, shard: Path, number: int) -> None:
        self._shard, self._number, self._lock = shard, number, threading.Lock()
        self._content: list[bytes | None] | None = None

    def content(self) -> list[bytes | None]:
        """Return the bytes of its photos."""
        from pyarrow import parquet

        with self._lock:
            if self._content is None:
                with (
                    _open(self._shard, cache_type="none") as file,
                    parquet.ParquetFile(file) as table,
                ):
                    columns = _columns_of(table.schema_arrow, self._shard)
                    rows = table.read_row_group(self._number, columns=[columns.bytes])
                images = rows.column(columns.image).to_pylist()
                if columns.bytes != columns.image:
                    images = [(image or {}).get("bytes") for image in images]
                self._content = images
            return self._content


@lru_cache(maxsize=GROUPS)
def _group(shard: Path, number: int) -> _Group:
    return _Group(shard, number)
