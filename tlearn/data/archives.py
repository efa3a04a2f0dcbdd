"""Reading zip and tar archives entry by entry, in the process of unpacking.py."""

import contextlib
import re
import shutil
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, cast

from charset_normalizer import from_bytes

from tlearn.data.filenames import quote_name
from tlearn.progress import format_bytes

CHUNK = 1 << 18
MOST_NAMES = 10_000  # of a tar that are read to detect their encoding
SPARE = 10**8  # bytes of the disk that stay free
HEAD = 512  # bytes by which a file is identified
RATIO_FROM = 8 * 10**6  # unpacked bytes; small archives of drawings compress well
UNPACKED = frozenset({"zip", "tar", "gzip", "bzip2", "xz"})  # kinds
_SIGNATURES = {
    b"PK\3\4": "zip",
    b"PK\5\6": "zip",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_UTF8, _ENCRYPTED = 0x800, 0x2041  # flags of a zip: encrypted, strongly so, or its directory is
# The encodings that archivers use in various languages on Windows and DOS.
_CODECS = "gb18030 cp932 big5 cp949 cp866 cp1251 cp1252 cp850 cp437".split()
# The bytes of the common characters of East Asian encodings: kana and the first level of each
# national standard.
_COMMON = {
    "gb18030": rb"[\xb0-\xd7][\xa1-\xfe]",
    "cp932": rb"\x82[\x9f-\xf1]|\x83[\x40-\x96]|[\x88-\x97][\x40-\xfc]|\x81[\x5b\x45]",
    "big5": rb"[\xa4-\xc6][\x40-\x7e\xa1-\xfe]",
    "cp949": rb"[\xb0-\xc8][\xa1-\xfe]",
}
_MOST_DETECTED = 2000  # names that are considered
_ENOUGH = 6  # Hangul syllables: fewer may well be Chinese


@dataclass(frozen=True)
class Limits:
    """Limits of one upload.

    Attributes:
        files: Files received, and files unpacked.
        bytes: Bytes received, and bytes after unpacking.
        image_bytes: Bytes of one image.
        ratio: Unpacked to packed size of an archive, checked beyond 8 MB unpacked.
        seconds: Time to unpack one archive.
        memory: Bytes of memory to unpack one archive, where the system can limit it.
    """

    files: int = 100_000
    bytes: int = 10 * 10**9
    image_bytes: int = 200 * 10**6
    ratio: int = 200
    seconds: float = 3600.0
    memory: int = 10**9


class RefusedError(Exception):
    """The reason why an archive is refused, to follow its name in a message."""


def archive_kind(head: bytes) -> str:
    """Return the kind of an archive by its first 512 bytes; empty if it is none."""
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    try:
        tarfile.TarInfo.frombuf(head[:HEAD], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return ""
    return "tar"


def archive_stem(name: str) -> str:
    """Return an archive's name without its suffix, such as ``.tar.gz``."""
    return re.sub(r"\.(zip|tar|tar\.(gz|bz2|xz)|tgz|tbz2|txz)$", "", name, flags=re.IGNORECASE)


def check_room(folder: Path, size: int) -> None:
    """Raise a RefusedError if the disk has no room for ``size`` bytes and some to spare."""
    free = max(0, shutil.disk_usage(folder).free - SPARE)
    if size >= free:
        raise RefusedError(
            f"needs {format_bytes(size)} of disk, where {format_bytes(free)} are free; "
            "make room first"
        )


@dataclass(frozen=True)
class Entry:
    """One file in an archive.

    Attributes:
        name: Its path, decoded.
        size: Unpacked bytes, as the archive declares.
        position: Bytes of the archive that come before it.
        file: Its content, to be read before the next entry is requested.
    """

    name: str
    size: int
    position: int
    file: IO[bytes]


class Archive:
    """A zip or tar archive.

    Attributes:
        encoding: The encoding of the names if not UTF-8, known once such a name was read.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.encoding = path, ""

    def entries(self) -> Iterator[Entry]:
        """Yield the files in the order of the archive, without folders.

        Raises:
            RefusedError: If it is no archive, or holds a link, a device, or an encrypted entry.
            Exception: Of many kinds, if it is damaged or cut off.
        """
        with self.path.open("rb") as file:
            kind = archive_kind(file.read(HEAD))
        if kind == "zip":
            return self._zip_entries()
        if not kind:
            raise RefusedError(
                "is neither a zip nor a tar, whatever its name says; pack the photos anew as .zip "
                "or .tar.gz"
            )
        if kind != "tar" and not tarfile.is_tarfile(self.path):
            raise EOFError(f"there is no whole tar in the {kind}")
        return self._tar_entries()

    def _zip_entries(self) -> Iterator[Entry]:
        with zipfile.ZipFile(self.path) as archive:
            names = [info.orig_filename.partition("\0")[0] for info in archive.infolist()]
            infos = [*zip(archive.infolist(), names, strict=True)]
            self.encoding = detect_encoding(
                name.encode("cp437") for info, name in infos if not info.flag_bits & _UTF8
            )
            for info, name in infos:
                if not info.flag_bits & _UTF8:
                    name = name.encode("cp437").decode(self.encoding or "utf-8", "replace")
                kind = stat.S_IFMT(info.external_attr >> 16)
                if info.flag_bits & _ENCRYPTED:
                    raise RefusedError(
                        f"holds {quote_name(name)}, which is encrypted; pack it anew without a "
                        f"password"
                    )
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise _link(name)
                if not name.endswith(("/", "\\")):
                    with archive.open(info) as file:
                        yield Entry(name, info.file_size, info.header_offset, file)

    def _tar_entries(self) -> Iterator[Entry]:
        with (
            self.path.open("rb") as packed,
            tarfile.open(
                fileobj=packed, encoding="utf-8", errors="surrogateescape", tarinfo=_Member
            ) as archive,
        ):
            while member := archive.next():
                cast(Any, archive).members.clear()  # else all stay in memory
                if not (member.isreg() or member.isdir()):
                    raise _link(member.name)
                file = archive.extractfile(member)
                if file is not None:
                    yield Entry(self._decode(member.name), member.size, packed.tell(), file)
            # Read to the checksum of the compression; a tar ends with many zeros.
            rest = cast(Any, archive).fileobj
            for _ in range(RATIO_FROM // CHUNK):
                if not rest.read(CHUNK):
                    return
            raise EOFError("much data after its end")

    def _decode(self, name: str) -> str:
        """Return the name of a file in a tar, which does not declare its encoding."""
        raw = name.encode("utf-8", "surrogateescape")
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            if not self.encoding:
                with tarfile.open(self.path, encoding="utf-8", errors="surrogateescape") as archive:
                    names = (member.name.encode("utf-8", "surrogateescape") for member in archive)
                    self.encoding = detect_encoding(chain([raw], islice(names, MOST_NAMES)))
            return raw.decode(self.encoding, "replace")


class _Member(tarfile.TarInfo):
    """A header; unlike in tarfile, a damaged or missing one is an error, not the end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Member":
        try:
            member = super().fromtarfile(archive)
        except tarfile.HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":
                raise
            raise tarfile.ReadError(str(error)) from None
        if member.size < 0:
            raise tarfile.ReadError("a size is below zero")
        return member


def _link(name: str) -> RefusedError:
    return RefusedError(
        f"holds {quote_name(name)}, which is a link or a device; pack the files themselves"
    )


def detect_encoding(names: Iterable[bytes]) -> str:
    """Return the common encoding of names, empty for UTF-8, ``cp437`` (that of zip) if none fits.

    ``charset_normalizer`` lists the plausible ones; names are too short for it to distinguish those
    of East Asia, of which the one with the most common characters is chosen.
    """
    distinct = dict.fromkeys(name for name in names if not name.isascii())
    text = b"\n".join(islice(distinct, _MOST_DETECTED))
    with contextlib.suppress(UnicodeDecodeError):
        text.decode("utf-8")
        return ""
    plausible = [match.encoding for match in from_bytes(text, cp_isolation=_CODECS)]
    shares = {codec: _common_share(text, codec) for codec in _COMMON if codec in plausible}
    if shares.get("cp949") == 1 and len(re.findall(_COMMON["cp949"], text)) >= _ENOUGH:
        return "cp949"
    best = max(shares, key=lambda codec: shares[codec], default="")
    if best and (shares[best] == 1 or (best == plausible[0] and shares[best] > 0.5)):
        return best
    dos = text.decode("cp437")
    if all(char.isascii() or unicodedata.name(char).startswith("LATIN") for char in dos):
        return "cp437"
    return next((codec for codec in plausible if codec not in shares), best or "cp437")


def _common_share(text: bytes, codec: str) -> float:
    characters = [char for char in text.decode(codec) if not char.isascii()]
    common = [char for char in characters if re.fullmatch(_COMMON[codec], char.encode(codec))]
    return len(common) / len(characters)
