"""What all commands share: exit codes, and failing in one line."""

import sys

from tlearn.text import printable

BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def fail(message: str) -> int:
    """Print an error in one line; return the exit code for it."""
    print(f"tlearn: error: {printable(' '.join(message.split()))}", file=sys.stderr)
    return BAD_INPUT
