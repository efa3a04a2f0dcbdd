"""Explanations as files: pictures, one page, JSON."""

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from PIL import Image

from tlearn.atomic import atomic_directory
from tlearn.data.packed_photos import photo_path
from tlearn.data.thumbnails import thumbnail_url
from tlearn.errors import DataError, RunError, os_errors_as
from tlearn.runs.directory import check_free
from tlearn.runs.explanation import Explanation, overlays, shown_photo
from tlearn.runs.run import Run
from tlearn.text import decode_name, encode_name, numbered_names, percent, printable

PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --line: #8884; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; }
h2 { font-size: 1.1rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
article { border-top: 1px solid var(--line); padding: 1.5rem 0; break-inside: avoid; }
.row { display: flex; flex-wrap: wrap; gap: .8rem; margin: .6rem 0; }
figure { margin: 0; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; max-width: 20rem; }
.row img { height: 13.5rem; max-width: 100%; object-fit: contain; border-radius: .3rem; }
.near figure { width: 6.5rem; }
.near img, .none { height: 6.5rem; width: 6.5rem; background: var(--line); border-radius: .3rem; }
</style>
</head>
<body>
<h1>$title</h1>
<p>$intro</p>
$photos
</body>
</html>
""")
INTRO = """\
Each photo with what speaks for the class that is named: the lighter, the more. Grad-CAM shows what
the network looks at. Occlusion covers one part after another and shows where that lowers the
probability. Below are the training photos that are most alike to the network. None of this proves
that the network is right. At a distance of 1 a photo is as far from a training photo as these
usually are from each other."""
CAPTIONS = {"grad-cam": "Grad-CAM", "occlusion": "Occlusion"}
PIXELS = 480  # of the longer side of photos within the page


def write_explanations(run: Run, explanations: Sequence[Explanation], folder: Path) -> Path:
    """Write a picture for each heat map, ``explanations.html`` and ``explanations.json``.

    Args:
        run: The run.
        explanations: What :func:`tlearn.runs.explanation.explain` returned.
        folder: The folder to make.

    Raises:
        RunError: If the folder exists or cannot be written; nothing is written then.
    """
    check_free(folder)
    what = f"the folder {str(folder)!r} cannot be made"
    with (
        os_errors_as(RunError, what, "choose another place with --out"),
        atomic_directory(folder) as place,
    ):
        articles, records, names = [], [], set[str]()
        for explanation in explanations:
            try:
                pictures = {"photo": shown_photo(run, explanation.path)}
                pictures |= overlays(run, explanation)
            except DataError:
                pictures = {}
            files = {}
            stem = printable(explanation.path.stem)[:80] or "photo"
            for method in explanation.heat if pictures else ():
                tries = numbered_names(f"{stem} {method}", ".png")
                files[method] = next(name for name in tries if name.casefold() not in names)
                names.add(files[method].casefold())
                pictures[method].save(place / files[method])
            articles.append(_article(run, explanation, pictures))
            records.append(record_of(explanation) | {"overlays": files})
        title = escape(printable(f"Explanations of {run.path.resolve().name}"))
        page = PAGE.substitute(title=title, intro=INTRO, photos="\n".join(articles))
        (place / "explanations.html").write_text(page, encoding="utf-8")
        (place / "explanations.json").write_text(to_json(records), encoding="utf-8")
    return folder


def record_of(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation as JSON has it."""
    return {
        "path": encode_name(str(explanation.path)),
        "problem": explanation.problem,
        "top": explanation.top,
        "unknown": explanation.unknown,
        "class": explanation.label,
        "probability": explanation.probability,
        "largest_drop": explanation.drop,
        "neighbours": [
            {"file": encode_name(n.file), "class": n.label, "distance": round(n.distance, 3)}
            for n in explanation.neighbours
        ],
    }


def to_json(records: Sequence[dict[str, Any]]) -> str:
    """Return records of explanations as JSON."""
    return json.dumps(records, indent=2, ensure_ascii=False) + "\n"


def lines_of(explanation: Explanation) -> list[str]:
    """Return an explanation as lines for a terminal."""
    if explanation.problem:
        return [printable(f"{explanation.path}  {explanation.problem}")]
    ranked = "  ".join(f"{label} {percent(p)}" for label, p in explanation.top)
    ranked = f"unknown, most like {ranked}" if explanation.unknown else ranked
    lines = [f"{explanation.path}  {ranked}"]
    if explanation.label != explanation.top[0][0]:
        lines.append(f"  explained: {explanation.label} {percent(explanation.probability)}")
    if explanation.drop is not None:
        lines.append(f"  {_drop_text(explanation)}")
    near = ", ".join(f"{n.file} ({n.label}, {n.distance:.2f})" for n in explanation.neighbours)
    lines += [f"  nearest training photos: {near}"] if near else []
    return list(map(printable, lines))


def _drop_text(explanation: Explanation) -> str:
    """Return what occlusion found in words."""
    p, drop = explanation.probability, explanation.drop or 0.0
    if drop < 0.005:
        return "covering any one part hardly changes the probability"
    return f"covering the part that matters most lowers {percent(p)} to {percent(max(p - drop, 0))}"


def _article(run: Run, explanation: Explanation, pictures: dict[str, Image.Image]) -> str:
    """Return the part of the page about one photo."""

    def text(words: str) -> str:
        return f"<bdi>{escape(printable(words))}</bdi>"

    name = explanation.path.name
    heading = f"<article><h2><bdi dir=ltr>{escape(printable(name))}</bdi></h2>"
    if explanation.problem or not pictures:
        return f"{heading}<p>{text(explanation.problem or 'cannot be read any more')}</p></article>"
    ranked = ", ".join(f"<b>{text(label)}</b> {percent(p)}" for label, p in explanation.top)
    ranked = f"<b>unknown</b>, most like {ranked}" if explanation.unknown else ranked
    captions = {"photo": "the photo"} | {
        method: f"{CAPTIONS[method]}: what speaks for {text(explanation.label)}"
        for method in explanation.heat
    }
    if "occlusion" in captions:
        captions["occlusion"] += f"; {_drop_text(explanation)}"
    figures = "".join(
        f'<figure><img src="{_url(pictures[name])}" alt="">'
        f"<figcaption>{caption}</figcaption></figure>"
        for name, caption in captions.items()
    )
    near = "".join(
        f'<figure title="{escape(printable(n.file))}">{_thumbnail(run, n.file)}'
        f"<figcaption>{text(n.label)}, {n.distance:.2f}</figcaption></figure>"
        for n in explanation.neighbours
    )
    words = "Nearest training photos, with their class and distance"
    near = f'<p>{words}</p><div class="row near">{near}</div>' if near else ""
    return f'{heading}<p>{ranked}</p><div class="row">{figures}</div>{near}</article>'


def _thumbnail(run: Run, file: str) -> str:
    url = thumbnail_url(photo_path(run.photo_folder, decode_name(file)), 160)
    return f'<img src="{url}" alt="">' if url else '<div class="none"></div>'


def _url(picture: Image.Image) -> str:
    small, out = picture.copy(), io.BytesIO()
    small.thumbnail((PIXELS, PIXELS))
    small.save(out, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
