"""One file being received: its bytes are counted and checked as they come."""

import contextlib
from collections.abc import Callable, Iterator
from io import FileIO

from tlearn.data.archives import HEAD, Limits, RefusedError, archive_kind
from tlearn.data.filenames import shown
from tlearn.errors import DataError
from tlearn.progress import format_bytes


class UploadWriter:
    """Takes the bytes of one file.

    Attributes:
        size: Bytes taken so far.
        head: The first 512 of them.
    """

    def __init__(
        self,
        file: FileIO,
        name: str,
        expected: int | None,
        limits: Limits,
        count: Callable[[str, int], None],
    ) -> None:
        self.size, self.head = 0, b""
        self._file, self._name, self._expected = file, name, expected
        self._limits, self._count = limits, count
        self._refused: DataError | None = None

    def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            DataError: If they are too many, or cannot be written; the file is then not kept.
        """
        if self._refused:
            raise self._refused
        try:
            self._check(len(data))
            self.head += data[: HEAD - len(self.head)]
            self._check_image(len(self.head) == HEAD)
            with told(f"the file {shown(self._name)}"):
                left = memoryview(data)
                while left:
                    left = left[self._file.write(left) :]
        except DataError as error:
            self._refused = error
            raise

    def finish(self) -> None:
        """Check the file as a whole.

        Raises:
            DataError: If a write was refused, or there were fewer bytes than expected.
        """
        if self._refused:
            raise self._refused
        if self._expected is not None and self.size < self._expected:
            raise DataError(
                f"{shown(self._name)} ended after {self.size} of {self._expected} bytes; send it "
                f"again"
            )
        self._check_image(known=True)

    def _check(self, more: int) -> None:
        if self._expected is not None and self.size + more > self._expected:
            raise DataError(
                f"{shown(self._name)} has more than the {self._expected} bytes it was said to "
                f"have; send it again"
            )
        self._count(self._name, more)
        self.size += more

    def _check_image(self, known: bool) -> None:
        """Refuse what is too large and no archive, once it is known what it is."""
        most = self._limits.image_bytes
        if known and self.size > most and archive_kind(self.head) is None:
            raise DataError(
                f"{shown(self._name)} has more than the {format_bytes(most)} that one image may "
                f"have; make it smaller"
            )


@contextlib.contextmanager
def told(what: str) -> Iterator[None]:
    """Say in a line what the system refuses to do for ``what``.

    Raises:
        DataError: Instead of an error of the system's, or for want of room.
    """
    try:
        yield
    except RefusedError as error:
        raise DataError(f"{what} {error}") from None
    except OSError as error:
        raise DataError(
            f"{what} cannot be written: {error.strerror or error}; make room on the disk, or let "
            f"its folder be written to"
        ) from None
