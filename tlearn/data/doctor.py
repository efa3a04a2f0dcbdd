"""Mending a data folder: nothing is deleted, every step can be undone, also after a crash.

Photos go to other class folders, or to a quarantine folder beside the data folder, where also the
journal of all steps is (see ``tlearn.data.journal``). A step that was interrupted is taken back as
soon as a ``Doctor`` is made for the folder, or does something: it never half happened.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tlearn.data import images
from tlearn.data.drafts import Draft, Layout
from tlearn.data.folders import visible
from tlearn.data.journal import JOURNAL, Journal, Places, Record, refusal, same_folder
from tlearn.data.scan import PROBE_SIZE, check_folder
from tlearn.errors import DataError
from tlearn.text import encode_name

COPYING = ".copying"  # a copy on its way into the quarantine folder


@dataclass(frozen=True)
class Action:
    """Something that was done to a data folder.

    Attributes:
        number: Counts the steps from 1; those that were interrupted and taken back count too.
        kind: ``quarantine``, ``move``, ``rename``, ``merge`` or ``add``.
        time: When, in seconds since 1970.
        moves: From and to of each file, or of a class folder that was renamed: paths relative to
            the folder in which the data folder stands, with ``/``.
        detail: What was asked for, such as ``{"label": "roses", "to": "tulips"}``.
        undone: Whether it was undone.
    """

    number: int
    kind: str
    time: float
    moves: tuple[tuple[str, str], ...]
    detail: dict[str, str]
    undone: bool


class Doctor:
    """Moves, renames and merges photos and classes, and takes it back.

    Links are moved as links, so that a relative one may lead nowhere from its new place until that
    is undone. Many processes and threads may work on one folder; each step waits for the others.
    Names of files are as a manifest has them, and those of classes are its labels.

    Args:
        root: The data folder: class folders, or train, validation and test folders that hold them.

    Raises:
        DataError: If it is none, or a step that was interrupted cannot be taken back.
    """

    def __init__(self, root: Path) -> None:
        check_folder(root)
        self.root = root.resolve()
        if not self.root.name:
            raise DataError(f"{str(root)!r} is a whole disk; give a folder on it")
        self.quarantine_folder = self.root.with_name(f"{self.root.name}-quarantine")
        self._journal = Journal(Places(self.root, self.quarantine_folder))
        self._journal.recover()

    def quarantine(self, names: Sequence[str]) -> Action:
        """Move photos to the quarantine folder, where they keep their path below the data folder.

        Raises:
            DataError: If one is not there or none can be moved; nothing is changed then.
        """

        def plan(layout: Layout, draft: Draft) -> None:
            for path in _found(layout, names):
                parts = path.relative_to(self.root).parts
                draft.move(path, self.quarantine_folder, parts)

        return self._act("quarantine", {}, plan)

    def move(self, names: Sequence[str], label: str) -> Action:
        """Move photos to another class, there already or new; they stay on their side.

        They keep their path below the class folder. Those of the class already stay.

        Raises:
            DataError: If one is not there, all are of this class, the name is not possible, or
                nothing can be moved; nothing is changed then.
        """

        def plan(layout: Layout, draft: Draft) -> None:
            layout.check_label(label)
            for path in _found(layout, names):
                place, below = layout.place_of(path)
                folder = layout.class_folder(place, label)
                if folder not in path.parents:
                    draft.move(path, folder, below[1:] or below)

        return self._act("move", {"to": label}, plan)

    def rename(self, label: str, new: str) -> Action:
        """Rename a class on every side.

        Raises:
            DataError: If there is no such class, the new name is taken or not possible, or the
                folder cannot be renamed; nothing is changed then.
        """

        def plan(layout: Layout, draft: Draft) -> None:
            layout.check_known(label)
            if layout.check_label(new, label) in layout.labels:
                raise DataError(
                    f"there is a class {new!r} already; choose another name, or merge {label!r} "
                    f"into it"
                )
            for place in layout.places:
                folders = layout.folders(place, label)
                if len(folders) > 1:
                    raise DataError(
                        f"two folders in {str(place)!r} are class {label!r}, in two Unicode "
                        f"spellings; merge {label!r} into itself, then rename it"
                    )
                for folder in folders:
                    draft.rename(folder, layout.class_folder(place, new))

        return self._act("rename", {"label": label, "to": new}, plan)

    def merge(self, labels: Sequence[str], into: str) -> Action:
        """Make classes one, on every side; ``into`` is one of them, another one, or new.

        Photos keep their path below the class folder. What scans pass over, such as previews that
        a system made, goes to the quarantine folder.

        Raises:
            DataError: If there is no such class or nothing to merge, the name is not possible, or
                nothing can be moved; nothing is changed then.
        """
        labels = [labels] if isinstance(labels, str) else labels

        def plan(layout: Layout, draft: Draft) -> None:
            layout.check_label(into)
            for label in labels:
                layout.check_known(label)
            for place in layout.places:
                target = layout.class_folder(place, into)
                for label in dict.fromkeys([*labels, into]):
                    for folder in layout.folders(place, label):
                        if folder != target:
                            self._pour(layout, draft, folder, target)

        return self._act("merge", {"label": ", ".join(labels), "to": into}, plan)

    def add(self, photo: Path, label: str) -> Action:
        """Copy a photo into a class, there already or new, in ``train/`` where there are sides.

        The copy comes by way of the quarantine folder; undo moves it back there.

        Raises:
            DataError: If it is no photo that can be read, the name is not possible, or nothing can
                be written; the data folder is not changed then.
        """
        if not os.path.isfile(photo) or not visible(photo):  # noqa: PTH113 - never raises
            raise DataError(f"{str(photo)!r} is no photo that can be added; give an image file")
        try:
            data = images.read_bytes(photo)
            images.decode(data, PROBE_SIZE)
        except DataError as error:
            raise DataError(f"{str(photo)!r} cannot be added: {error}; give another") from None

        def plan(layout: Layout, draft: Draft) -> None:
            layout.check_label(label)
            folder = layout.class_folder(layout.place_of_new, label)
            parts = (*folder.relative_to(self.root).parts, photo.name)
            for record in self._journal.records():
                if record.kind == "add" and record.state == "done":  # its undo needs that place
                    draft.reserve(record.step.moves[0].source)
            waiting = draft.free(self.quarantine_folder, parts)
            copy = self.quarantine_folder / COPYING
            with suppress(FileNotFoundError):
                copy.unlink()  # half a copy, if a crash left one; never written through a link
            copy.write_bytes(data)
            waiting.parent.mkdir(parents=True, exist_ok=True)
            copy.replace(waiting)
            draft.move(waiting, folder, (photo.name,))

        return self._act("add", {"label": label, "photo": encode_name(str(photo))}, plan)

    def undo(self) -> Action | None:
        """Undo the last action that is not undone; return it, or ``None`` if there is none.

        Raises:
            DataError: If a file has changed or vanished since or its old place is taken, or nothing
                can be moved; nothing is changed then.
        """
        if not (self.quarantine_folder / JOURNAL).exists():
            return None
        with self._journal.locked() as records:
            done = [record for record in records if record.state == "done"]
            if not done:
                return None
            self._check_undo(done[-1])
            return self._action(self._journal.undo(done[-1]))

    def history(self) -> list[Action]:
        """Return all actions, the newest first, those that are undone too.

        Raises:
            DataError: If the journal cannot be read.
        """
        states = ("done", "undoing", "undone")
        records = [record for record in self._journal.records() if record.state in states]
        return [self._action(record) for record in reversed(records)]

    def _act(
        self, kind: str, detail: dict[str, str], plan: Callable[[Layout, Draft], None]
    ) -> Action:
        """Plan under the lock, write the plan down, carry it out."""
        with self._journal.locked() as records:
            try:
                layout = Layout(self.root)
                draft = Draft(self._journal.places)
                plan(layout, draft)
                step = draft.step(layout.kept)
                if not step.moves:
                    raise DataError("there is nothing to move: all is where it shall be")
                number = records[-1].number + 1 if records else 1
                record = Record(number, kind, time.time(), detail, step)
                self._journal.begin(record)
            except OSError as error:
                raise DataError(refusal(error)) from None
            return self._action(self._journal.carry_out(record, layout.check_meaning))

    def _pour(self, layout: Layout, draft: Draft, folder: Path, target: Path) -> None:
        """Plan to empty a class folder into another."""
        layout.check_inside(folder / "any")
        left = [folder]
        while left:
            current = left.pop()
            draft.empty(current)
            for path in sorted(current.iterdir()):
                if not visible(path):
                    draft.move(path, self.quarantine_folder, path.relative_to(self.root).parts)
                elif path.is_dir() and not path.is_symlink():
                    left.append(path)
                else:
                    draft.move(path, target, path.relative_to(folder).parts)

    def _check_undo(self, record: Record) -> None:
        """Refuse what cannot be taken back whole."""
        places = self._journal.places
        for move in record.step.moves:
            source, target = places.path(move.source), places.path(move.target)
            wrong = ""
            if not os.path.lexists(target):
                wrong = f"{target!r} is gone"
            elif not places.holds(move, target):
                wrong = f"{target!r} has changed since"
            elif os.path.lexists(source) and not same_folder(source, target):
                wrong = f"at {source!r} stands something else now"
            if wrong:
                raise DataError(
                    f"the last action ({record.kind}) cannot be undone: {wrong}; nothing was "
                    f"moved; put it back as it was, and try again"
                )

    def _action(self, record: Record) -> Action:
        folders = {"data": self.root.name, "quarantine": self.quarantine_folder.name}

        def shown(name: str) -> str:
            place, _, below = name.partition("/")
            return encode_name(f"{folders[place]}/{below}")

        return Action(
            number=record.number,
            kind=record.kind,
            time=record.time,
            moves=tuple((shown(m.source), shown(m.target)) for m in record.step.moves),
            detail=record.detail,
            undone=record.state == "undone",
        )


def _found(layout: Layout, names: Sequence[str]) -> list[Path]:
    """Return the paths of files, each once."""
    names = [names] if isinstance(names, str) else names
    if not names:
        raise DataError("no photo is named; name one or more, as the scan lists them")
    return list(dict.fromkeys(map(layout.find, names)))
