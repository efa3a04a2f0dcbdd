"""Commands of tlearn as child processes that end with the page's server, however it ends.

The standard input of a child, ``python -m tlearn.web.child plan ...``, is a pipe from the server,
which the system closes when the server ends.
"""

import contextlib
import os
import runpy
import subprocess
import sys
import tempfile
import threading
from typing import IO

from tlearn.errors import RunError
from tlearn.priority import AWAITED, lower_priority
from tlearn.progress import Progress
from tlearn.runs.run_state import records_in


def start_child(
    *arguments: str, stdout: int | IO[bytes], stderr: int | IO[bytes]
) -> subprocess.Popen[bytes]:
    """Start a command of tlearn that ends with this process.

    Raises:
        OSError: If it cannot be started.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "tlearn.web.child", *arguments],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )


def error_in(output: bytes) -> str:
    """Return the last error among lines of ``--progress json``, or an empty text."""
    errors = [r for r in records_in(output.decode("utf-8", "replace")) if "error" in r]
    if not errors:
        return ""
    return "; ".join(str(errors[-1][key]) for key in ("error", "hint") if errors[-1].get(key))


def run_command(progress: Progress, *arguments: str) -> bytes:
    """Run a command of tlearn, show its progress, and return its standard output.

    Raises:
        RunError: With its error, if it fails.
    """
    with tempfile.TemporaryFile() as output:
        command = (*arguments, "--progress", "json")
        process = start_child(*command, stdout=output, stderr=subprocess.PIPE)
        lines: list[bytes] = []
        try:
            assert process.stderr is not None
            with contextlib.ExitStack() as stack:
                title, done, task = "", 0, None
                for line in process.stderr:
                    lines.append(line)
                    for record in records_in(line.decode("utf-8", "replace")):
                        if "task" not in record:
                            continue
                        if record["task"] != title:
                            title, done = str(record["task"]), 0
                            opened = progress.task(title, record["total"], record["unit"])
                            task = stack.enter_context(opened)
                        assert task is not None
                        task.advance(record["done"] - done)
                        done = record["done"]
            code = process.wait()
        finally:  # also on an exception
            process.kill()
            process.communicate()
        if code:
            reason = error_in(b"".join(lines))
            raise RunError(reason or f"the process ended with code {code} and no message")
        output.seek(0)
        return output.read()


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    lower_priority(AWAITED)
    sys.argv[0] = "tlearn"
    runpy.run_module("tlearn", run_name="__main__")
