"""Explanations by ``tlearn explain`` in a separate process: the page's server loads no network."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlearn.progress import Progress, Silent
from tlearn.runs.run import Run
from tlearn.text import decode_name
from tlearn.web.child import run_command

NEIGHBOURS = 5  # training photos for each photo


@dataclass(frozen=True)
class ShownExplanation:
    """Why a model says what it says of a photo.

    Attributes:
        picture: The photo with its heat map, as a file.
        neighbours: The nearest training photos with their classes, the nearest first.
    """

    picture: Path
    neighbours: tuple[tuple[Path, str], ...]


def explain(
    run: Path, photos: Sequence[Path], folder: Path, progress: Progress | None = None
) -> dict[Path, ShownExplanation]:
    """Explain photos; those that cannot be read are left out.

    Args:
        run: The run directory.
        photos: The photos.
        folder: Where pictures go; made here.
        progress: Where to show progress.

    Raises:
        RunError: If the run cannot be used, or the process was killed.
    """
    options = ("--neighbours", str(NEIGHBOURS), "--out", str(folder))
    run_command(progress or Silent(), "explain", str(run), *map(str, photos), *options)
    records: list[dict[str, Any]] = json.loads((folder / "explanations.json").read_text("utf-8"))
    place = Run(run).photo_folder
    return {
        Path(decode_name(record["path"])): ShownExplanation(
            folder / next(iter(record["overlays"].values())),
            tuple((place / decode_name(n["file"]), n["class"]) for n in record["neighbours"]),
        )
        for record in records
        if record["overlays"]
    }
