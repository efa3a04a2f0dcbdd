"""``label_next``: which photos of a folder are most worth labelling for a run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.atomic import atomic_directory, atomic_file
from tlearn.csv_files import csv_text
from tlearn.data.file_reading import content_hash
from tlearn.data.image_paths import PathLike, image_paths
from tlearn.data.images import decode, read_bytes
from tlearn.data.prefetch import prefetch_map, readers
from tlearn.errors import ConfigError, DataError, os_errors_as
from tlearn.object_stores import copy_file
from tlearn.progress import Progress, console_progress
from tlearn.runs.photo_selection import WIDER, Candidate, least_sure, select
from tlearn.runs.run import Run
from tlearn.text import encode_name, numbered_names, percent

COLUMNS = ("path", "label", "predicted", "probability", "second", "second_probability")
TABLE = "labels.csv"
HELD = 20  # times as many photos as wanted are held while all are looked at, of which copies go
NEAR = 4  # of 64 bits in which near copies differ, at most
HASHED = 64  # pixels that photos are decoded at to find copies


@dataclass(frozen=True)
class NextPhotos:
    """Photos that are worth labelling, the most worth first.

    Attributes:
        candidates: The photos, with what the model says of them.
        labels: The classes of the model.
        photos: How many there were.
        known: How many of those the run was trained on or measured with.
        copies: How many others were left out as copies of another, or nearly so.
        unreadable: Files that could not be read, with the reason.
    """

    candidates: tuple[Candidate, ...]
    labels: tuple[str, ...]
    photos: int
    known: int
    copies: int
    unreadable: tuple[tuple[str, str], ...]

    def rows(self) -> list[dict[str, Any]]:
        """Return a record per photo: its path, and the two likeliest classes."""
        rows = []
        for one in self.candidates:
            best = np.argsort(-one.probabilities, kind="stable")[:2]
            says = [(self.labels[i], round(float(one.probabilities[i]), 6)) for i in best]
            rows.append({"path": str(one.path), "margin": round(one.margin, 6), "top": says})
        return rows

    @property
    def text(self) -> str:
        """It, for people."""
        lines = [
            f"{row['path']}  {' or '.join(f'{label} {percent(p)}' for label, p in row['top'])}"
            for row in self.rows()
        ]
        others = {
            "that the run knows": self.known,
            "copies of others": self.copies,
            "unreadable": len(self.unreadable),
        }
        left_out = ", ".join(f"{n:,} {what}" for what, n in others.items() if n)
        lines += [f"unreadable: {name}: {reason}" for name, reason in self.unreadable]
        lines.append(
            f"{len(self.candidates):,} of {self.photos:,} photos, the most worth labelling first"
            + (f"; left out: {left_out}" if left_out else "")
        )
        return "\n".join(lines)

    def table(self, names: dict[Path, str] | None = None) -> str:
        """Return a CSV table with a column for the classes, which is empty.

        Args:
            names: What the photos are called, if not by their paths.
        """
        cells = []
        for one, row in zip(self.candidates, self.rows(), strict=True):
            name = names[one.path] if names else str(one.path.resolve())
            cells.append((encode_name(name), "", *(cell for says in row["top"] for cell in says)))
        return csv_text(COLUMNS, cells)

    def write_table(self, path: Path) -> None:
        """Write the table.

        Raises:
            DataError: If it cannot be written.
        """
        what = f"{str(path)!r} cannot be written"
        with os_errors_as(DataError, what, "choose another file"), atomic_file(path) as file:
            file.write_text(self.table(), encoding="utf-8")

    def copy(self, folder: Path) -> None:
        """Copy the photos into a new folder, with the table.

        Raises:
            DataError: If it exists or cannot be written.
        """
        if folder.exists():
            raise DataError(f"{str(folder)!r} exists already; choose another folder")
        names: dict[Path, str] = {}
        what = f"{str(folder)!r} cannot be written"
        with os_errors_as(DataError, what, "choose another"), atomic_directory(folder) as new:
            for one in self.candidates:
                free = numbered_names(one.path.stem, one.path.suffix)
                name = next(name for name in free if not (new / name).exists())
                copy_file(one.path, new / name)
                names[one.path] = name
            (new / TABLE).write_text(self.table(names), encoding="utf-8")


def label_next(
    run: Run | PathLike,
    folder: PathLike,
    number: int = 50,
    *,
    seed: int = 0,
    quiet: bool = False,
    progress: Progress | None = None,
) -> NextPhotos:
    """Choose the photos of a folder that are most worth labelling for a run.

    Those it is unsure of, unlike each other; see :mod:`tlearn.runs.photo_selection`. Photos that
    the run was trained on or measured with do not count, whatever their path, nor do near copies of
    each other. Memory grows by some hundred bytes with each photo.

    Args:
        run: A run or its directory.
        folder: Photos without labels; also an archive, a table or a file.
        number: How many to choose.
        seed: Decides what is chosen among photos that are worth about the same.
        quiet: Show nothing while it works.
        progress: Where to show progress instead of standard error.

    Raises:
        ConfigError: If ``number`` is under 1.
        DataError: If there is no photo that the run does not know.
        RunError: If the run is not finished or damaged.

    Example:
        >>> tlearn.label_next("runs/photos", "new", 20).candidates[0].path  # doctest: +SKIP
        PosixPath('new/IMG_0412.jpg')
    """
    if number < 1:
        raise ConfigError(f"label_next chooses 1 photo or more, not {number}")
    run = run if isinstance(run, Run) else Run(run)
    progress = progress or console_progress(quiet)
    paths = image_paths([folder], progress)
    new, known, copies, unreadable = _new_photos(run, paths, progress)
    failed = list(unreadable)
    held = least_sure(_candidates(run, new, failed, progress), HELD * number)
    if not held:
        raise DataError(
            f"none of the {len(paths):,} files in {str(folder)!r} is a photo that the run "
            f"{str(run.path)!r} does not know ({known:,} it knows); give others"
        )
    distinct, near = _without_copies(held, WIDER * number)
    chosen = select(distinct, number, seed)
    return NextPhotos(tuple(chosen), run.labels, len(paths), known, copies + near, tuple(failed))


def _new_photos(
    run: Run, paths: Sequence[Path], progress: Progress
) -> tuple[list[Path], int, int, list[tuple[str, str]]]:
    """Return the photos that the run does not know, one of each content.

    With how many it knows, how many are copies, and what could not be read.
    """
    contents, seen = set(run.splits()), set[str]()
    new, known, copies = list[Path](), 0, 0
    unreadable = list[tuple[str, str]]()
    with progress.task("reading images", len(paths), "files") as task:
        for path, content in zip(
            paths, prefetch_map(_content, paths, threads=readers(paths)), strict=True
        ):
            task.advance()
            if isinstance(content, DataError):
                unreadable.append((str(path), str(content)))
            elif content in contents:
                known += 1
            elif content in seen:
                copies += 1
            else:
                seen.add(content)
                new.append(path)
    return new, known, copies, unreadable


def _content(path: Path) -> str | DataError:
    try:
        return content_hash(read_bytes(path))
    except DataError as error:
        return error


def _candidates(
    run: Run, paths: list[Path], failed: list[tuple[str, str]], progress: Progress
) -> Iterator[Candidate]:
    """Yield what the model says of photos; note those that cannot be read."""
    with progress.task("predicting", len(paths), "images") as task:
        for path, outputs in run.classifier.predict_with_features(paths):
            task.advance()
            if isinstance(outputs, DataError):
                failed.append((str(path), str(outputs)))
            else:
                yield Candidate(path, outputs.probabilities, outputs.features[-1])


def _without_copies(candidates: list[Candidate], wanted: int) -> tuple[list[Candidate], int]:
    """Return that many photos, the least sure, no two of which are nearly the same.

    With how many were left out. Near copies have perceptual hashes of few bits' difference (pHash:
    Zauner, 2010).
    """
    import imagehash

    distinct, hashes, near = list[Candidate](), list[Any](), 0
    for candidate in candidates:
        image = decode(read_bytes(candidate.path), HASHED, ranges=None)
        own = imagehash.phash(image)
        if any(own - other <= NEAR for other in hashes):
            near += 1
            continue
        distinct.append(candidate)
        hashes.append(own)
        if len(distinct) == wanted:
            break
    return distinct, near
