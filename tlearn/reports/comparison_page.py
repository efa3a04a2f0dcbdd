"""Two runs side by side as one HTML page, with the photos of which they say different classes."""

from collections.abc import Sequence
from pathlib import Path

from tlearn.atomic import atomic_file
from tlearn.data.packed_photos import photo_path
from tlearn.data.thumbnails import thumbnail_url
from tlearn.errors import RunError, os_errors_as
from tlearn.reports import markup
from tlearn.reports.markup import name, paragraph, table, text
from tlearn.runs.comparison_text import RIGHT, differences, heading, verdict
from tlearn.runs.run import Run
from tlearn.runs.run_comparison import Disagreement, RunComparison
from tlearn.text import decode_name, percent

MOST = 200  # photos of a kind: a thumbnail takes 5 kB
PIXELS = 144
STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1, h2, figure, td { overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 .5rem; font-size: 1.15rem; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--line); }
.photos { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); }
figure { margin: 0; font-size: .85rem; }
img, .none { width: 9rem; height: 9rem; border-radius: .3rem; background: var(--line); }
"""


def write_comparison(comparison: RunComparison, run: Run, path: Path) -> None:
    """Write the page.

    Args:
        comparison: What it shows.
        run: The first of the runs, whose photos are shown.
        path: The file; it is overwritten.

    Raises:
        RunError: If it cannot be written.
    """
    one, other = comparison.names
    title = f"{one} and {other}"
    rows = [(text(what), text(a), text(b)) for what, (a, b) in differences(comparison).items()]
    parts = [paragraph(text(line)) for line in verdict(comparison)]
    parts.append("<h2>What differs</h2>")
    nothing = paragraph("Neither configuration nor photos.")
    parts.append(table(("", one, other), rows) if rows else nothing)
    for right in RIGHT:
        photos = [d for d in comparison.disagreements if d.right == right]
        if photos:
            parts.append(f"<h2>{text(heading(comparison.names, right, len(photos)))}</h2>")
            parts.append(_gallery(comparison.names, run, photos[:MOST]))
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{text(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<h1>{text(title)}</h1>{''.join(parts)}"
    )
    what = f"{str(path)!r} cannot be written"
    with os_errors_as(RunError, what, "choose another file"), atomic_file(path) as file:
        file.write_text(page, encoding="utf-8")


def _gallery(names: tuple[str, str], run: Run, photos: Sequence[Disagreement]) -> str:
    figures = []
    for photo in photos:
        first = photo.predictions[0]
        url = thumbnail_url(photo_path(run.photo_folder, decode_name(first.file)), PIXELS)
        picture = f'<img src="{url}" alt="">' if url else '<div class="none"></div>'
        says = "<br>".join(
            f"{name(which)}: {name(p.predicted)} {percent(p.probability)}"
            for which, p in zip(names, photo.predictions, strict=True)
        )
        words = f"<b>{name(first.label)}</b><br>{says}<br>{markup.path(decode_name(first.file))}"
        figures.append(f"<figure>{picture}<figcaption>{words}</figcaption></figure>")
    return f'<div class="photos">{"".join(figures)}</div>'
