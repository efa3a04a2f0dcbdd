"""``report``: one HTML page about a run, which needs nothing beside it and loads nothing."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path
from string import Template

from tlearn import __version__
from tlearn.atomic import atomic_file
from tlearn.backbones import load_registry
from tlearn.errors import RunError, TlearnError, one_line, os_errors_as
from tlearn.progress import Progress, Silent
from tlearn.reports.class_table import class_table
from tlearn.reports.confusion_table import confusion_table
from tlearn.reports.contents import Contents
from tlearn.reports.examples import examples
from tlearn.reports.feature_map import feature_map
from tlearn.reports.history import training
from tlearn.reports.markup import name, paragraph, text
from tlearn.reports.model_card import model_card
from tlearn.reports.overview import overview
from tlearn.reports.probabilities import calibration, thresholds
from tlearn.runs.run import Run
from tlearn.runs.stored_runs import upload_changes

Render = Callable[[], str]
# What no page may hold: control characters, and what stands for bytes that are not UTF-8.
UNWRITABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
# By name: its title, and what gives its HTML. In the order of the page; those of plugins follow.
SECTIONS: Mapping[str, tuple[str, Callable[[Contents], str]]] = {
    "summary": ("Summary", overview),
    "confusions": ("What is taken for what", confusion_table),
    "classes": ("Class by class", class_table),
    "mistakes": ("Mistakes, and uncertain hits", examples),
    "calibration": ("How far its probabilities can be trusted", calibration),
    "thresholds": ("ROC, and precision against recall", thresholds),
    "map": ("The photos as the model sees them", feature_map),
    "training": ("How it was trained", training),
    "model-card": ("Model card", model_card),
}


def report(
    run: Run | str | Path,
    out: str | Path | None = None,
    progress: Progress | None = None,
    *,
    thorough: bool = True,
) -> Path:
    """Write one HTML page about a run, which needs nothing beside it.

    Args:
        run: The run, or its directory.
        out: The file; ``report.html`` in the run directory if not given, and the pictures of the
            page then go to ``figures`` there. It is overwritten.
        progress: Where to report which sections could not be drawn; the page does too.
        thorough: Compute what takes seconds, too: heat maps of the photos shown large, thumbnails
            of up to 1,000, a map by t-SNE. The page that a training writes is without, but for heat
            maps where the training took 90 seconds or more.

    Raises:
        RunError: If there is no such run, or the file cannot be written.
    """
    run = run if isinstance(run, Run) else Run(run)
    path = Path(out) if out else run.path / "report.html"
    unwritten = os_errors_as(
        RunError, f"the report {str(path)!r} cannot be written", "choose another --out"
    )
    with unwritten, atomic_file(path) as file:
        contents = Contents(run, thorough, out is None, progress or Silent())
        file.write_text(_page(contents), encoding="utf-8")
    upload_changes(run.path)
    return path


def report_of_training(run: Run, progress: Progress) -> None:
    """Write the report that a training ends with; say why where it cannot be written."""
    try:
        report(run, progress=progress, thorough=False)
    # The training is over and saved: nothing that is wrong with a page may lose it.
    except Exception as error:  # noqa: BLE001
        kind = "" if isinstance(error, TlearnError) else f"{type(error).__name__}: "
        progress.say(f"there is no report: {kind}{one_line(error)}")


def _page(contents: Contents) -> str:
    run = contents.run
    sections: dict[str, tuple[str, Render]] = {}
    for key, (title, function) in SECTIONS.items():
        sections[key] = (title, partial(function, contents))
    for plugin in load_registry().plugins:
        for section in plugin.reports:
            key = f"plugin-{section.name}" if section.name in SECTIONS else section.name
            sections[key] = (section.title, partial(section.render, run))
    parts = [_section(key, *section, contents.progress) for key, section in sections.items()]
    links = "".join(
        f'<a href="#{text(key)}">{text(key.replace("-", " ").capitalize())}</a>' for key in sections
    )
    folder = files("tlearn.reports")
    template, style, script = (
        folder.joinpath(f"report.{kind}").read_text(encoding="utf-8")
        for kind in ("html", "css", "js")
    )
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(template).substitute(
        title=text(run.path.resolve().name),
        heading=name(run.path.resolve().name),
        digest=digest,
        style=style,
        links=links,
        sections="\n".join(parts),
        photos=contents.photos.script_data(contents.labels),
        footer=paragraph(_footer(contents)),
        script=script,
    )


def _footer(contents: Contents) -> str:
    again = "<code>tlearn report RUN</code> writes it again, with heat maps and more photos."
    more = "" if contents.thorough else f" Written when the training ended; {again}"
    return f"Made by tlearn {__version__}. This page loads nothing from anywhere.{more}"


def _section(key: str, title: str, render: Render, progress: Progress) -> str:
    """Return a section as HTML; of one that fails, why."""
    try:
        content = render()
        if not isinstance(content, str):
            raise TypeError(f"render must return HTML, it returned {content!r}")
    # A plugin's section may raise anything; the rest of the page is still useful.
    except Exception as error:  # noqa: BLE001
        why = f"{type(error).__name__}: {one_line(error)}"
        progress.say(f"the section {key} of the report could not be drawn: {why}")
        content = paragraph(f"Not drawn: {text(why)}", "failed")
    content = UNWRITABLE.sub("\ufffd", content)
    return f'<section id="{text(key)}"><h2>{text(title)}</h2>\n{content}\n</section>'
