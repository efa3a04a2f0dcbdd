"""Photos to look at: where the model is wrong and sure of it, where it is right and unsure."""

import io
from collections import Counter
from collections.abc import Sequence
from typing import Final

from PIL import ImageOps

from tlearn.errors import TlearnError, one_line
from tlearn.progress import Silent
from tlearn.reports.contents import Contents
from tlearn.reports.markup import name, paragraph, text
from tlearn.reports.photos import LARGE, SHOWN
from tlearn.runs.predictions import HeldOutPrediction

NEIGHBOURS = 5  # nearest training photos whose classes are named
FIRST = paragraph("Look here first: many of them have a wrong class, or show two things.")
LONG_TRAINING = 90.0  # seconds, of which heat maps take a few per cent
METHOD: Final = "grad-cam"


def examples(contents: Contents) -> str:
    """Return the most confident mistakes and the least confident hits."""
    rows = contents.photos.rows
    mistakes = [row for row in rows if not row.correct][:SHOWN]
    hits = [row for row in rows if row.correct][:SHOWN]
    note = contents.photos.note()
    affordable = contents.run.metrics["seconds"]["total"] >= LONG_TRAINING
    reasons: dict[str, tuple[bytes, str]] = {}
    why_not = ""
    if contents.thorough or affordable:
        reasons, why_not = _reasons(contents, [*mistakes, *hits])
    heat = (
        "Beside each photo is what speaks for the answer, by Grad-CAM: the lighter, the more. "
        "Below are the classes of the training photos that are most alike to the model."
    )
    notes = [line for line in (note, heat if reasons else "", why_not) if line]

    def gallery(some: Sequence[HeldOutPrediction]) -> str:
        cards = (contents.photos.card(row, *reasons.get(row.file, ())) for row in some)
        return f'<div class="gallery{" with-heat" if reasons else ""}">{"".join(cards)}</div>'

    return (
        "".join(paragraph(line, "note") for line in notes)
        + "<h3>Most confident mistakes</h3>"
        + (FIRST + gallery(mistakes) if mistakes else paragraph("There are no mistakes."))
        + "<h3>Least confident hits</h3>"
        + (gallery(hits) if hits else paragraph("There are no hits."))
    )


def _reasons(
    contents: Contents, rows: Sequence[HeldOutPrediction]
) -> tuple[dict[str, tuple[bytes, str]], str]:
    """Return a JPEG with a heat map, and the nearest classes, by photo; or why there are none."""
    from tlearn.runs.explanation import explain, overlays

    photos = contents.photos
    there = [row for row in rows if photos.path(row).is_file()]
    try:
        explanations = explain(
            contents.run,
            [photos.path(row) for row in there],
            method=METHOD,
            neighbours=NEIGHBOURS,
            progress=contents.progress if contents.thorough else Silent(),
        )
        reasons = {}
        for row, explanation in zip(there, explanations, strict=True):
            if not explanation.problem:
                out = io.BytesIO()
                heat = overlays(contents.run, explanation)[METHOD]
                ImageOps.fit(heat, (LARGE, LARGE)).save(out, "JPEG", quality=80)
                near = Counter(neighbour.label for neighbour in explanation.neighbours)
                reasons[row.file] = (out.getvalue(), _nearest(near))
    # Without them, the section is still useful; a model of layers of one's own may raise anything.
    except Exception as error:  # noqa: BLE001
        kind = "" if isinstance(error, TlearnError) else f"{type(error).__name__}: "
        return {}, f"There are no heat maps: {text(kind + one_line(error))}"
    return reasons, ""


def _nearest(near: Counter[str]) -> str:
    classes = ", ".join(f"{name(label)} ({number})" for label, number in near.most_common())
    return f"<small>most alike: {classes}</small>"
