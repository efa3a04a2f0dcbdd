"""A classifier that stays in memory for live pictures, in a process of its own.

It answers as the web service does. A hostile picture may crash it, and the page's server loads no
engine. ``python -m tlearn.web.live_process RUN SECONDS`` reads pictures from its standard input,
each after its length, and answers each with a line of JSON. It ends with the server, which closes
its input, or when it was idle for so many seconds; the next picture starts it again.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

from tlearn.errors import RunError, TlearnError
from tlearn.serving.served_model import ServedModel

TOP = 8  # classes per picture
IDLE = 60.0  # seconds without a picture after which the process ends
PATIENCE = 120.0  # seconds that an answer may take, the loading of the model included
MOST = 2  # classifiers in memory; of more, the one that was used longest ago ends
SIZE = 4  # bytes of a length


class LiveClassifier:
    """The process of a run, started with its first picture.

    Args:
        run: The run directory.
        idle: Seconds without a picture after which the process ends.

    Attributes:
        used: When it was asked last, by :func:`time.monotonic`.
    """

    def __init__(self, run: Path, idle: float = IDLE) -> None:
        self.used = time.monotonic()
        self._arguments = (str(run), str(idle))
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def answer(self, picture: bytes) -> dict[str, Any]:
        """Return what ``tlearn predict --format json`` says of an image file.

        Raises:
            RunError: If the run cannot be used, or its process ended twice.
        """
        with self._lock:
            self.used = time.monotonic()
            for _ in range(2):  # it may have ended just now, as it was idle
                with contextlib.suppress(OSError, EOFError):
                    return self._ask(self._started(), picture)
                self._end()
        raise RunError("the process that classifies ended without an answer; try again")

    def start(self) -> None:
        """Start the process, unless it is there or is being started, so that the model is read."""
        if self._lock.acquire(blocking=False):
            try:
                self._started()
            finally:
                self._lock.release()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tlearn.web.live_process", *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            )
        return self._process

    def _ask(self, process: subprocess.Popen[bytes], picture: bytes) -> dict[str, Any]:
        assert process.stdin is not None and process.stdout is not None
        timer = threading.Timer(PATIENCE, process.kill)
        timer.start()
        try:
            process.stdin.write(len(picture).to_bytes(SIZE, "big") + picture)
            process.stdin.flush()
            for line in process.stdout:
                with contextlib.suppress(ValueError):  # output of a library
                    record = json.loads(line)
                    if "error" in record:
                        raise RunError(record["error"])
                    return dict(record)
        finally:
            timer.cancel()
        raise EOFError

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with contextlib.suppress(OSError):  # what it did not read any more
                process.communicate()


_classifiers: dict[tuple[Path, int], LiveClassifier] = {}  # by run, and when its model was written
_lock = threading.Lock()


def live_classifier(run: Path) -> LiveClassifier:
    """Return the classifier of a run, the same for all who ask.

    Raises:
        RunError: If it has no model.
    """
    try:
        written = (run / "model.keras").stat().st_mtime_ns
    except OSError:
        raise RunError(f"the run {run.name!r} has no model; choose another") from None
    with _lock:
        found = _classifiers.setdefault((run, written), LiveClassifier(run))
        found.used = time.monotonic()
        ranked = sorted(_classifiers, key=lambda key: -_classifiers[key].used)
        old = [_classifiers.pop(key) for key in ranked[MOST:]]
    for classifier in old:
        classifier.close()
    return found


def _serve(path: Path, idle: float, pictures: BinaryIO) -> None:
    """Answer pictures with lines of JSON on standard output, until there are no more."""
    try:
        model = ServedModel(path)
        used = [time.monotonic()]
        threading.Thread(target=_end_idle, args=(used, idle), daemon=True).start()
        while length := pictures.read(SIZE):
            picture = pictures.read(int.from_bytes(length, "big"))
            (prediction,) = model.predictions(model.outputs([("", picture)]), TOP)
            print(prediction.to_json(), flush=True)
            used[0] = time.monotonic()
    except TlearnError as error:
        print(json.dumps({"error": str(error)}), flush=True)


def _end_idle(used: list[float], idle: float) -> None:
    """End the process once the last picture is so many seconds ago."""
    while (rest := used[0] + idle - time.monotonic()) > 0:
        time.sleep(rest)
    os._exit(0)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), float(sys.argv[2]), sys.stdin.buffer)
