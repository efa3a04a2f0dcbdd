"""What all commands share: exit codes, and failing in one line."""

import json
import sys
import tempfile
import traceback

from tlearn.errors import one_line
from tlearn.text import printable

DEFECT = 1
BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def fail(message: str, hint: str = "", as_json: bool = False) -> int:
    """Print an error in one line, or as a JSON object; return the exit code for it."""
    message = " ".join(message.split())
    line = f"tlearn: error: {printable('; '.join(filter(None, (message, hint))))}"
    print(json.dumps({"error": message, "hint": hint}) if as_json else line, file=sys.stderr)
    return BAD_INPUT


def fail_unexpected(error: Exception, as_json: bool = False) -> int:
    """Print an unexpected error in one line, its traceback to a file; return the exit code."""
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", prefix="tlearn-", suffix=".txt", delete=False
        ) as file:
            file.write(text)
        place = f"is in {file.name}"
    except OSError:  # a full disk
        print(text, file=sys.stderr)
        place = "is above"
    fail(
        f"unexpected {type(error).__name__}: {one_line(error)}; your data and runs are safe. "
        f"The traceback {place}; please report it, or run the command again with --debug",
        as_json=as_json,
    )
    return DEFECT
