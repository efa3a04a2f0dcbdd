"""Problems of a data set: files that are not used, and notes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FOLDER_KINDS = frozenset({"empty class", "folder", "class name"})  # not about a file


@dataclass(frozen=True)
class Problem:
    """A file that is not used, or a note.

    Attributes:
        name: Path of a file as in a manifest, or of a folder.
        kind: ``unreadable``, ``not an image``, ``no class``, ``empty class``, ``duplicate``,
            ``group``, ``trained on``, ``edit``, ``folder`` (how a folder was understood),
            ``class name``, ``pixels`` (how a file was decoded); of an upload ``refused`` or
            ``renamed``.
        reason: A sentence for the user.
    """

    name: str
    kind: str
    reason: str


def ignored_table(name: str, reason: object) -> Problem:
    """Return why a table is not used."""
    return Problem(name, "folder", f"this table is ignored: {reason}")


def with_ignored_table(reason: str, problems: Sequence[Problem]) -> str:
    """Return why data cannot be used, and why a table there is ignored, if one is."""
    before = "this table is ignored: "
    table = next((p for p in problems if p.reason.startswith(before)), None)
    if table is None:
        return reason
    # The whole sentence is written out: the page has its translation.
    return f"{reason}; {table.name}: this table is ignored: {table.reason.removeprefix(before)}"


def group_by_reason(problems: Iterable[Problem]) -> list[tuple[Problem, ...]]:
    """Return problems of one kind and reason together, the largest groups first.

    Reasons that name other files, those of renamed and duplicate ones, count as one.
    """
    groups: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        reason = "" if problem.kind in ("renamed", "duplicate") else problem.reason
        groups.setdefault((problem.kind, reason), []).append(problem)
    return sorted(map(tuple, groups.values()), key=lambda group: -len(group))


def summarize(problems: Sequence[Problem], most: int = 3) -> str:
    """Return the reasons, the most frequent first, each with its number and first file."""
    first = {problem.reason: problem.name for problem in reversed(problems)}
    reasons = Counter(problem.reason for problem in problems).most_common()
    parts = [
        f"{first[reason]}{f' and {n - 1} more' if n > 1 else ''} ({reason})"
        for reason, n in reasons[:most]
    ]
    rest = sum(n for _, n in reasons[most:])
    return "; ".join(parts) + (f"; and {rest} more" if rest else "")
