"""Edits applied to what a scan lists: which class each photo is of, and what is excluded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tlearn.data.edits_file import Edit, edits_path, orphaned_edits, read_edits
from tlearn.data.problems import Problem, summarize
from tlearn.progress import Progress


@dataclass(frozen=True)
class Edits:
    """The edits of a data folder, oldest first."""

    lines: tuple[Edit, ...] = ()

    @classmethod
    def of(cls, data: Path) -> "Edits":
        """Read the edits of a data folder.

        Raises:
            DataError: If their file cannot be read or is damaged.
        """
        return cls(read_edits(data))

    def apply(self, labels: Mapping[str, str]) -> tuple[dict[str, str | None], list[Edit]]:
        """Return the class of each photo after all edits.

        Each edit is about what those before it made: a photo that was moved to a class is renamed
        with it.

        Args:
            labels: Class by name of the photo, empty for one outside any class.

        Returns:
            Class by name, ``None`` for what is excluded; and the edits about photos and classes
            that are gone.
        """
        after: dict[str, str | None] = dict(labels)
        gone: list[Edit] = []
        for edit in self.lines:
            if edit.of_class:
                names = [name for name, label in after.items() if label == edit.of_class]
            else:
                names = [edit.path] if edit.path in after else []
            after.update(dict.fromkeys(names, edit.label or None))
            if not names:
                gone.append(edit)
        return after, gone

    def actions(self) -> Iterator[tuple[Edit, ...]]:
        """Yield the lines of each action, oldest first."""
        for _, lines in groupby(self.lines, key=lambda edit: edit.time):
            yield tuple(lines)


def say_edits(root: Path, edits: Edits, problems: Sequence[Problem], progress: Progress) -> None:
    """Say how many edits were applied, and which could not be."""
    n = len(edits.lines)
    if n:
        show = f"'tlearn data show {root}' lists them"
        progress.say(f"{n} edit{'s' if n > 1 else ''} applied; {show}")
    gone = [problem for problem in problems if problem.kind == "edit"]
    if gone:
        progress.say(f"edits without effect: {summarize(gone)}")
    for path in orphaned_edits(root):
        progress.say(
            f"{str(path)!r} holds edits of a folder that is not there; give it the name "
            f"{edits_path(root).name!r} if the folder was renamed"
        )
