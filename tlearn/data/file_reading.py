"""Reading the files of a data set: which are images, and the hashes of their contents."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from tlearn.cluster.ray_connection import LOCAL
from tlearn.cluster.ray_stream import stream
from tlearn.data import images
from tlearn.data.file_table import FileTable, ImageFile
from tlearn.data.folders import named_image
from tlearn.data.prefetch import READERS, in_store, prefetch_map
from tlearn.data.scan_cache import FileCheck, FileChecks
from tlearn.errors import DataError

CHECK_SIZE = 64  # readability is checked at the smallest scale a JPEG can be decoded at
MANY = 10_000  # files from which on a cluster reads them: its workers take seconds to start
SHARD = 1024  # files that a worker of a cluster reads at a time
INSPECTED_SIZE = 256  # pixels of the shorter side, at least, of images that are inspected
Inspect = Callable[[ImageFile, images.Examined, bytes], None]


def content_hash(data: bytes) -> str:
    """Return the BLAKE2b hash of a file's bytes, 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def check_files(
    files: FileTable,
    inspect: Inspect | None = None,
    cluster: str = "",
    say: Callable[[str], None] | None = None,
) -> Iterator[FileChecks]:
    """Yield what reading files gives, in order: of one after the other, or of some at a time.

    It is done in threads, or on a cluster if there are many files and ``inspect``, which is called
    with each image, is not given. ``say`` is as of :func:`tlearn.cluster.ray_stream.stream`.
    """
    check = partial(_check_file, inspect=inspect)
    threads = READERS if in_store(file.path for file in files[:1]) else 0
    if inspect or cluster in ("", LOCAL) or len(files) < MANY:
        for result in prefetch_map(check, files, threads=threads):
            yield FileChecks.of([result])
        return
    for _, results in stream(cluster, _Reading(threads), files, SHARD, say=say):
        yield results


@dataclass(frozen=True)
class _Reading:
    """What a worker of a cluster does with files; with as many threads as it has CPUs if 0."""

    threads: int

    def start(self, threads: int) -> Callable[[Sequence[ImageFile]], FileChecks]:
        pool = ThreadPoolExecutor(self.threads or threads)
        check = partial(_check_file, inspect=None)
        return lambda files: FileChecks.of([*pool.map(check, files)])


def _check_file(file: ImageFile, inspect: Inspect | None) -> FileCheck:
    """Hash a file and try to decode it."""
    try:
        data = images.read_bytes(file.path)
    except DataError as error:  # the disk's failure, perhaps over soon: not the file's
        return FileCheck(kind="unreadable", reason=str(error), lasting=False)
    try:
        with images.examining(data, INSPECTED_SIZE // 2 if inspect else CHECK_SIZE) as examined:
            if inspect:
                inspect(file, examined, data)
            return FileCheck(content=content_hash(data), reason=examined.note, own=examined.own)
    except DataError as error:
        foreign = str(error) in images.NO_IMAGE and not named_image(file.path)
        return FileCheck(kind="not an image" if foreign else "unreadable", reason=str(error))
