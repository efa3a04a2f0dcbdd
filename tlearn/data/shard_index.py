"""The photos of a shard: WebDataset's ``.tar`` and Hugging Face's ``.parquet``.

- In a ``.tar`` (https://github.com/webdataset/webdataset) files that differ in their ending alone
  are one sample: the photo, and perhaps its class as text in a ``.cls`` file, or under ``label`` or
  ``cls`` in a ``.json`` file. Without these the folder of a photo is its class.
- A ``.parquet`` has a column ``image``, of bytes or of ``{bytes, path}``, and a column ``label`` of
  texts, or of numbers with their names in the metadata, as Hugging Face's ``datasets`` write it.

The whole of a ``.tar`` is read for that, once: what was found is in the user's cache folder, and
holds as long as the shard does not change.
"""

import hashlib
import json
import tarfile
import time
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa

from tlearn.atomic import atomic_file
from tlearn.cache_folder import cache_folder
from tlearn.data.columns import NAMES, TEXTS
from tlearn.data.file_stamps import Stamp, are_settled, stamp_of
from tlearn.errors import DataError, StoreError, one_line
from tlearn.object_stores import StorePath
from tlearn.text import decode_name, encode_name

ENDINGS = (".tar", ".parquet")
IMAGE_COLUMNS, LABEL_COLUMNS = ("image", "img"), ("label", "labels", "class")
LABELS = ("cls", "json")  # endings of files in a .tar that may give a class
ANNOTATIONS = (*LABELS, "txt")  # and of those that are no photos
IN_MEMORY = 256  # shards
FOLDER = "scans/shards"  # in the user's cache folder, with the results of scans
MOST = 20_000  # shards that are known there: those met last
FORMAT = b"1"  # raised whenever what is found in a shard changes
SCHEMA = pa.schema({"name": NAMES, "label": TEXTS, "start": pa.int64(), "size": pa.int64()})


class Sample(NamedTuple):
    """A photo of a shard.

    Attributes:
        name: Its path there.
        label: Its class.
        start: Where its bytes begin in a ``.tar``, or its row in a ``.parquet``.
        size: Its bytes in a ``.tar``, else 0.
    """

    name: str
    label: str
    start: int = 0
    size: int = 0


class ShardIndex(NamedTuple):
    """The photos of a shard by their names, and its stamp when they were."""

    stamp: Stamp
    samples: dict[str, Sample]


@lru_cache(maxsize=IN_MEMORY)
def index_of(shard: Path) -> ShardIndex:
    """Return the photos of a shard.

    Raises:
        DataError: If it is damaged.
        StoreError: If the store does not answer.
    """
    now, stamp = time.time_ns(), stamp_of(shard)
    file = _cache_file(shard)
    samples = _load(file, stamp)
    if samples is None:
        samples = _checked(shard, _read(shard))
        if are_settled(np.array([stamp]), now)[0]:
            _save(file, stamp, samples)
    return ShardIndex(stamp, {sample.name: sample for sample in samples})


def _read(shard: Path) -> list[Sample]:
    read = _parquet_samples if shard.suffix.lower() == ".parquet" else _tar_samples
    try:
        return read(shard)
    except (DataError, StoreError):
        raise
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"the shard {str(shard)!r} cannot be read: {reason}") from None
    except Exception as error:  # noqa: BLE001 - of tarfile and pyarrow
        raise DataError(
            f"the shard {str(shard)!r} cannot be read: {one_line(error)}; make it anew"
        ) from None


def _checked(shard: Path, samples: list[Sample]) -> list[Sample]:
    """Refuse names that lead out of a shard, or that two photos have."""
    names = {sample.name for sample in samples}
    for name in names:
        if not name or name.startswith("/") or ".." in name.split("/"):
            raise DataError(f"the shard {str(shard)!r} holds the name {name!r}; make it anew")
    if len(names) < len(samples):
        raise DataError(f"the shard {str(shard)!r} holds two photos of one name; make it anew")
    return samples


def _cache_file(shard: Path) -> Path:
    digest = hashlib.blake2b(str(shard.absolute()).encode("utf-8", "surrogateescape"))
    return cache_folder() / FOLDER / f"{digest.hexdigest()[:32]}.arrow"


def _metadata(stamp: Stamp) -> dict[bytes, bytes]:
    return {b"format": FORMAT, b"stamp": json.dumps(stamp).encode()}


def _load(file: Path, stamp: Stamp) -> list[Sample] | None:
    """Return what was found in a shard of this stamp, if that is known."""
    try:
        with pa.memory_map(str(file)) as opened:
            table = pa.ipc.open_file(opened).read_all()
        table.validate(full=True)
    except (OSError, ValueError):
        return None
    if not table.schema.equals(SCHEMA.with_metadata(_metadata(stamp)), check_metadata=True):
        return None
    with suppress(OSError):
        file.touch()  # the ones used last are not removed
    names, *columns = (column.to_pylist() for column in table.columns)
    return [*map(Sample, map(decode_name, names), *columns)]


def _save(file: Path, stamp: Stamp, samples: Sequence[Sample]) -> None:
    rows = [sample._replace(name=encode_name(sample.name))._asdict() for sample in samples]
    schema = SCHEMA.with_metadata(_metadata(stamp))
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with (
            atomic_file(file) as temporary,
            pa.OSFile(str(temporary), "wb") as opened,
            pa.ipc.new_file(opened, schema) as writer,
        ):
            writer.write_table(pa.Table.from_pylist(rows, schema))


def prune_indexes() -> None:
    """Remove what is known of the shards that were met longest ago, beyond ``MOST``."""
    with suppress(OSError):
        files = [*(cache_folder() / FOLDER).glob("*.arrow")]
        if len(files) > MOST:
            files.sort(key=lambda file: file.stat().st_mtime)
            for file in files[:-MOST]:
                file.unlink()


def open_shard(shard: Path, **options: Any) -> IO[bytes]:
    """Open a shard, of a store with options of fsspec."""
    return shard.open_with(**options) if isinstance(shard, StorePath) else shard.open("rb")


def _tar_samples(shard: Path) -> list[Sample]:
    photos: list[tarfile.TarInfo] = []
    labels: dict[str, str] = {}
    with (
        open_shard(shard, block_size=2**22) as file,
        tarfile.open(fileobj=file, mode="r:") as archive,
    ):
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
        label = labels.get(key) or encode_name(PurePosixPath(photo.name).parent.name)
        label = unicodedata.normalize("NFC", label)
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


class ShardColumns(NamedTuple):
    """The columns of a ``.parquet``.

    Attributes:
        image: That of the photos.
        bytes: That of their bytes, inside the image perhaps.
        path: That of their paths, inside the image, if there is one.
        label: That of their classes.
    """

    image: str
    bytes: str
    path: str | None
    label: str


def columns_of(schema: Any, shard: Path) -> ShardColumns:
    """Return which columns of a schema of Arrow are which.

    Raises:
        DataError: If there are no photos, or no classes.
    """
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
        return ShardColumns(image, image, None, label)
    has_path = kind.get_field_index("path") >= 0
    return ShardColumns(image, f"{image}.bytes", f"{image}.path" if has_path else None, label)


def _parquet_samples(shard: Path) -> list[Sample]:
    from pyarrow import parquet

    with open_shard(shard, cache_type="none") as file, parquet.ParquetFile(file) as table:
        columns = columns_of(table.schema_arrow, shard)
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
