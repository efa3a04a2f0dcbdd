"""Photos to look at: where the model is wrong and sure of it, where it is right and unsure."""

from tlearn.reports.contents import Contents
from tlearn.reports.markup import paragraph
from tlearn.reports.photos import SHOWN


def examples(contents: Contents) -> str:
    """Return the most confident mistakes and the least confident hits."""
    photos = contents.photos
    mistakes = [row for row in photos.rows if not row.correct][:SHOWN]
    hits = [row for row in photos.rows if row.correct][:SHOWN]
    wrong = photos.gallery(mistakes) if mistakes else paragraph("There are no mistakes.")
    right = photos.gallery(hits) if hits else paragraph("There are no hits.")
    note = photos.note()
    return (
        (paragraph(note, "note") if note else "")
        + "<h3>Most confident mistakes</h3>"
        + paragraph("Look here first: many of them have a wrong class, or show two things.")
        + wrong
        + "<h3>Least confident hits</h3>"
        + right
    )
