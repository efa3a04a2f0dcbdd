"""The held-out photos in a report: which are listed, and their thumbnails."""

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tlearn.data.packed_photos import photo_path
from tlearn.data.thumbnails import thumbnail
from tlearn.reports.markup import name, path, text
from tlearn.runs.predictions import HeldOutPrediction
from tlearn.text import decode_name, percent, printable

SHOWN = 12  # mistakes, and hits, shown large
LARGE, SMALL = 160, 72  # pixels
LISTED = 5000  # photos that the page knows by name
BYTES = 3_000_000  # of all thumbnails


@dataclass(frozen=True)
class Limits:
    """How many thumbnails there are at most.

    Attributes:
        photos: How many.
        read: Bytes of photos that are read for them.
    """

    photos: int
    read: int


THOROUGH = Limits(1000, 1 << 40)
AFTER_TRAINING = Limits(150, 30_000_000)  # they may cost little time there


@dataclass(frozen=True)
class Photos:
    """The held-out photos of one split with what the model says of them.

    Attributes:
        folder: What their names are relative to.
        rows: The mistakes, the most confident first; then the hits, the least confident first.
        limits: Of thumbnails.
    """

    folder: Path
    rows: Sequence[HeldOutPrediction]
    limits: Limits

    @classmethod
    def of(cls, folder: Path, rows: Sequence[HeldOutPrediction], thorough: bool) -> "Photos":
        """Make them of rows in any order, with few thumbnails unless ``thorough``."""
        mistakes = sorted((row for row in rows if not row.correct), key=lambda p: -p.probability)
        hits = sorted((row for row in rows if row.correct), key=lambda p: p.probability)
        return cls(folder, [*mistakes, *hits], THOROUGH if thorough else AFTER_TRAINING)

    @cached_property
    def thumbnails(self) -> list[str]:
        """Thumbnails of the first photos as base64; empty where a photo is no longer there."""
        found: list[str] = []
        read = size = 0
        for row in self.rows[: self.limits.photos]:
            if read > self.limits.read or size > BYTES:
                break
            data = self._thumbnail(row, SMALL)
            found.append(b64encode(data).decode() if data else "")
            read += self.path(row).stat().st_size if data else 0
            size += len(found[-1])
        return found

    def note(self) -> str:
        """Return how many thumbnails are missing, in words, if there are any missing."""
        missing, some = self.thumbnails.count(""), len(self.thumbnails)
        if missing:
            return (
                f"{missing} of {some} photos are no longer below {text(self.folder)}, or cannot be "
                f"read any more: they are given by name."
            )
        return ""

    def path(self, row: HeldOutPrediction) -> Path:
        """Return where the photo was in the training."""
        return photo_path(self.folder, decode_name(row.file))

    def card(self, row: HeldOutPrediction, heat: bytes | None = None, words: str = "") -> str:
        """Return a photo with its classes, as HTML.

        Args:
            row: What the model says of it.
            heat: A JPEG of it with a heat map.
            words: More about it, as HTML.
        """
        photo = self._thumbnail(row, LARGE)
        pictures = "".join(map(_picture, [photo, *([heat] if heat else [])]))
        guess = f"{name(row.predicted)} ({percent(row.probability)} sure)"
        classes = guess if row.correct else f"{name(row.label)}, taken for {guess}"
        file = decode_name(row.file)
        return (
            f'<figure class="{"hit" if row.correct else "mistake"}"><div>{pictures}</div>'
            f'<figcaption>{classes}<small class="file" title="{text(file)}">{path(file)}</small>'
            f"{words}</figcaption></figure>"
        )

    def _thumbnail(self, row: HeldOutPrediction, pixels: int) -> bytes | None:
        return thumbnail(self.path(row), pixels)

    def script_data(self, labels: Sequence[str]) -> str:
        """Return the photos as JSON for the script of the page, safe within HTML.

        Each is a list: name, number of its class, of the predicted class, probability, and a
        thumbnail, if there is one.
        """
        numbers = {label: k for k, label in enumerate(labels)}
        photos: list[list[str | int | float]] = [
            [
                printable(decode_name(row.file)),
                numbers[row.label],
                numbers[row.predicted],
                round(row.probability, 4),
            ]
            for row in self.rows[:LISTED]
        ]
        for photo, data in zip(photos, self.thumbnails, strict=False):
            photo.append(data)
        content = {"labels": list(map(printable, labels)), "photos": photos}
        line = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return line.replace("<", "\\u003c").replace("&", "\\u0026")


def _picture(data: bytes | None) -> str:
    if not data:
        return '<div class="gone">not there any more</div>'
    source = f"data:image/jpeg;base64,{b64encode(data).decode()}"
    return f'<img src="{source}" width={LARGE} height={LARGE} alt="">'
