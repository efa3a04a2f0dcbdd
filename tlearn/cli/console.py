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
    if as_json:
        print(json.dumps({"error": message, "hint": hint}), file=sys.stderr)
    else:
        print(
            f"tlearn: error: {printable('; '.join(filter(None, (message, hint))))}", file=sys.stderr
        )
    return BAD_INPUT


def fail_unexpected(error: Exception, as_json: bool = False) -> int:
    """Print what nobody expected in one line, and the traceback to a file; return the exit code."""
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", prefix="tlearn-", suffix=".txt", delete=False
        ) as file:
            file.write(text)
    except OSError:  # a full disk: then the screen has to do
        print(text, file=sys.stderr)
        place = "is above"
    else:
        place = f"is in {file.name}"
    fail(
        f"unexpected {type(error).__name__}: {one_line(error)}; what was read and trained is safe. "
        f"The traceback {place}; please report it, or run the command again with --debug",
        as_json=as_json,
    )
    return DEFECT
