"""A connection between two workers, which also shows that the other has ended."""

import json
import socket
from collections.abc import Mapping
from typing import Any

LINE_SECONDS = 10.0  # for the line of a worker that has connected
MOST = 2**22  # bytes of a line


class Link:
    """A connection to another worker, for lines of JSON.

    Args:
        connection: The connection.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._connection, self._file = connection, connection.makefile("rb")

    def send(self, record: Mapping[str, Any]) -> None:
        """Send a line.

        Raises:
            OSError: If the other has closed the connection, or does not take it.
        """
        self._connection.settimeout(LINE_SECONDS)
        self._connection.sendall(json.dumps(record).encode() + b"\n")

    def receive(self, seconds: float = LINE_SECONDS) -> dict[str, Any]:
        """Return the next line.

        Raises:
            TimeoutError: If it does not come.
            OSError: If the connection is lost.
            ValueError: If the other has closed the connection, or sends something else.
        """
        self._connection.settimeout(seconds)
        return dict(json.loads(self._file.readline(MOST)))

    def has_ended(self) -> bool:
        """Return whether the other has closed the connection, as the end of its process does."""
        self._connection.settimeout(0)
        try:
            return not self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._connection.close()
