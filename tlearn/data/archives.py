"""Archives from strangers: read entry by entry within limits, never extracted by themselves."""

import bz2
import gzip
import io
import lzma
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, Protocol, cast

from tlearn.data.filenames import shown
from tlearn.progress import format_bytes

Kind = Literal["zip", "tar", "gzip", "bzip2", "xz"]

CHUNK = 1 << 18
SPARE = 10**8  # bytes of the disk that are left to others
HEAD = 512  # bytes that tell what a file is
RATIO_FROM = 8 * 10**6  # unpacked bytes; drawings compress well, and little of it does no harm
INDEX = 200  # bytes per such file that a zip's directory may have, which is read at once
LOCAL_HEADER = 30  # bytes before the name of an entry in a zip
HEADERS = 1 << 20  # bytes of headers before one member of a tar, which are read at once
XZ_MEMORY = 1 << 27  # the strongest level of xz asks for half of it
ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_SIGNATURES: dict[bytes, Kind] = {
    b"PK\3\4": "zip",
    b"PK\5\6": "zip",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
}


@dataclass(frozen=True)
class Limits:
    """What is taken from strangers.

    Attributes:
        files: Files received, and files unpacked.
        bytes: Bytes received, and bytes after unpacking.
        image_bytes: Bytes of one image.
        ratio: Unpacked to packed size of an archive, looked at beyond 8 MB unpacked.
        pixels: Pixels of one image, by its header.
    """

    files: int = 100_000
    bytes: int = 10 * 10**9
    image_bytes: int = 200 * 10**6
    ratio: int = 200
    pixels: int = 178_956_970


class RefusedError(Exception):
    """Why an archive is refused: what follows its name in the message."""


def archive_kind(head: bytes) -> Kind | None:
    """Tell by the first 512 bytes of a file which archive it is, if any."""
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    try:
        tarfile.TarInfo.frombuf(head[:HEAD], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return None
    return "tar"


def check_room(folder: Path, size: int) -> None:
    """Refuse to write what the disk has no room for.

    Raises:
        RefusedError: If there is none for so many bytes and some to spare.
    """
    free = max(0, shutil.disk_usage(folder).free - SPARE)
    if size >= free:
        raise RefusedError(
            f"needs {format_bytes(size)} of disk, where {format_bytes(free)} are free; "
            "make room first"
        )


def check_amount(unpacked: int, packed: int, limits: Limits) -> None:
    """Refuse an archive that unpacks to too much.

    Raises:
        RefusedError: If ``unpacked`` bytes are more than is allowed, or than an honest archive of
            ``packed`` bytes holds.
    """
    if unpacked > limits.bytes:
        raise RefusedError(
            f"unpacks to more than the {format_bytes(limits.bytes)} that are still allowed; "
            f"part it, or leave out what is not needed"
        )
    if unpacked > RATIO_FROM and unpacked > limits.ratio * packed:
        raise RefusedError(
            f"unpacks to more than {limits.ratio} times its {format_bytes(packed)}, as no "
            f"folder of photos does; send the photos themselves"
        )


@dataclass(frozen=True)
class Entry:
    """One entry; folders have a name with a slash at its end.

    Attributes:
        name: As the archive has it.
        size: Unpacked bytes, as the archive has it.
        position: Bytes of the archive that are done with before it.
        blocks: Gives what it holds.
    """

    name: str
    size: int
    position: int
    blocks: Callable[[], Iterator[bytes]]


def entries(path: Path, limits: Limits) -> Generator[Entry, None, None]:
    """Yield what an archive holds, in the order of the archive.

    What an entry holds has to be taken before the next one is.

    Raises:
        RefusedError: If it holds a link, a device, an encrypted entry, entries that overlap, or
            more than is allowed.
        Exception: Of many kinds, if it is damaged.
    """
    with path.open("rb") as file:
        kind = archive_kind(file.read(HEAD))
    return _zip_entries(path, limits) if kind == "zip" else _tar_entries(path, kind, limits)


class _Capped(io.FileIO):
    """A file that does not give too much at once: zipfile reads a whole directory into memory."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(path)
        self.most = most
        self.size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self.size - self.tell())
        wanted = left if size is None or size < 0 else size
        if min(wanted, left) > self.most:
            raise RefusedError("has a directory of too many entries; part it into several")
        return super().read(min(wanted, left)) or b""


def _zip_entries(path: Path, limits: Limits) -> Generator[Entry, None, None]:
    most = max(INDEX * limits.files, 1 << 20)
    with _Capped(path, most) as file, zipfile.ZipFile(cast(IO[bytes], file)) as archive:
        infos = archive.infolist()
        for info in infos:
            _check_zip_entry(info)
        _check_overlap(infos, file.size)
        declared = sum(info.file_size for info in infos)
        check_amount(declared, file.size, limits)
        check_room(path.parent, declared)
        for info in infos:
            blocks = partial(_zip_blocks, archive, info)
            yield Entry(_zip_name(info), info.file_size, info.header_offset, blocks)


def _zip_name(info: zipfile.ZipInfo) -> str:
    # zipfile cuts ``filename`` at a NUL. Without the flag, names are said to be in code page 437,
    # but macOS writes UTF-8.
    name = info.orig_filename
    if not info.flag_bits & 0x800:
        try:
            return name.encode("cp437").decode("utf-8")
        except UnicodeError:
            return name
    return name


def _check_zip_entry(info: zipfile.ZipInfo) -> None:
    what = f"holds {shown(_zip_name(info))}, which is"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.flag_bits & 0x2041:  # encrypted, strongly so, or its directory is
        raise RefusedError(f"{what} encrypted; pack it anew without a password")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise RefusedError(f"{what} a link or a device; pack the files themselves")
    # The decoders of the other methods cannot be told to stop at an amount.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise RefusedError(
            f"{what} compressed by method {info.compress_type}, where only Deflate is read; pack "
            f"it anew"
        )


def _check_overlap(infos: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse entries that share bytes: many large files can be made of few that way."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise RefusedError(f"holds {shown(_zip_name(info))} overlapping another; pack it anew")
        end = info.header_offset + LOCAL_HEADER + info.compress_size
    if end > size:
        raise EOFError("an entry goes beyond its end")


def _zip_blocks(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    with archive.open(info) as file:
        while block := file.read(CHUNK):
            yield block


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Stream(io.RawIOBase):
    """What tarfile reads: forward only, counted, and never much of headers at once."""

    def __init__(self, file: _Readable, packed: int, limits: Limits) -> None:
        self.file, self.packed, self.limits = file, packed, limits
        self.position, self.allowed, self.last = 0, HEADERS, b""

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, position: int, whence: int = 0, /) -> int:
        if whence or position < self.position:
            raise tarfile.ReadError("a header leads backwards")
        while self.position < position and self.block(position - self.position):
            pass
        return self.position

    def read(self, size: int = -1, /) -> bytes:
        """Read for tarfile, which takes headers as large as they say they are."""
        if not 0 <= size <= self.allowed:
            raise tarfile.ReadError("its headers are too long")
        self.allowed -= size
        self.last = self._counted(size)
        return self.last

    def block(self, most: int) -> bytes:
        """Return the next bytes, not more than ``most``; none at the end."""
        return self._counted(min(most, CHUNK))

    def _counted(self, size: int) -> bytes:
        data = self.file.read(size)
        self.position += len(data)
        check_amount(self.position, self.packed, self.limits)
        return data


class _Xz:
    """What an xz file holds; lzma's own reader takes as much memory as the file asks for."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, XZ_MEMORY)

    def read(self, size: int, /) -> bytes:
        blocks = []
        while size and (block := self._block(size)):
            blocks.append(block)
            size -= len(block)
        return b"".join(blocks)

    def _block(self, most: int) -> bytes:
        while True:
            data = b""
            if self.decoder.eof:  # parallel packers write several streams
                data = self._next_stream()
                if not data:
                    return b""
                self.decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, XZ_MEMORY)
            elif self.decoder.needs_input:
                data = self.file.read(CHUNK)
                if not data:
                    raise EOFError("it ends too early")
            if block := self.decoder.decompress(data, most):
                return block

    def _next_stream(self) -> bytes:
        rest = self.decoder.unused_data.lstrip(b"\0")  # streams may be padded with zeros
        while not rest and (data := self.file.read(CHUNK)):
            rest = data.lstrip(b"\0")
        return rest


def _decoded(file: BinaryIO, kind: Kind | None) -> _Readable:
    if kind == "gzip":
        return gzip.GzipFile(fileobj=file)
    if kind == "bzip2":
        return bz2.BZ2File(file)
    return _Xz(file) if kind == "xz" else file


def _tar_entries(path: Path, kind: Kind | None, limits: Limits) -> Generator[Entry, None, None]:
    with path.open("rb") as file:
        stream = _Stream(_decoded(file, kind), path.stat().st_size, limits)
        archive = tarfile.TarFile(
            fileobj=cast(IO[bytes], stream), encoding="utf-8", errors="surrogateescape"
        )
        while member := archive.next():
            _check_member(member)
            slash = "/" if member.isdir() else ""
            blocks = partial(_tar_blocks, stream, member)
            yield Entry(member.name + slash, member.size, file.tell(), blocks)
            cast(Any, archive).members.clear()  # else tarfile would keep all that it has seen
            archive.pax_headers = {}
            stream.allowed = HEADERS
        if len(stream.last) != tarfile.BLOCKSIZE or any(stream.last):
            raise EOFError("it has no end")  # tarfile takes any damage for the end
        while stream.block(CHUNK):  # to the checksum of what it was compressed with
            pass


def _check_member(member: tarfile.TarInfo) -> None:
    what = f"holds {shown(member.name)}, which is"
    if not (member.isreg() or member.isdir()):
        raise RefusedError(f"{what} a link or a device; pack the files themselves")
    if member.issparse():
        raise RefusedError(f"{what} stored with holes; pack it anew without --sparse")
    if member.size < 0:
        raise tarfile.ReadError("a size is below zero")


def _tar_blocks(stream: _Stream, member: tarfile.TarInfo) -> Iterator[bytes]:
    stream.seek(member.offset_data)
    end = member.offset_data + member.size
    while stream.position < end and (block := stream.block(end - stream.position)):
        yield block
