"""``tlearn explain``."""

from pathlib import Path
from typing import Any

import click

from tlearn.cli.console import fail
from tlearn.cli.options import (
    ENGINE,
    JSON,
    PATH,
    PROGRESS,
    QUIET,
    RUN,
    config_options,
    open_run,
    path_option,
)
from tlearn.progress import console_progress


@click.command()
@RUN
@click.argument("images", nargs=-1, required=True, type=PATH)
@click.option(
    "--method",
    type=click.Choice(["grad-cam", "occlusion", "both"]),
    default="grad-cam",
    show_default=True,
    help="How to find what speaks for a class.",
)
@click.option("--class", "label", metavar="NAME", help="The class to explain [the likeliest].")
@click.option(
    "--neighbours",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Nearest training photos to show.",
)
@path_option("--out", "FOLDER", "The folder to make [explanations/RUN].")
@config_options(*ENGINE)
@PROGRESS
@QUIET
@JSON
def explain(
    run: Path,
    images: tuple[Path, ...],
    method: Any,
    label: str | None,
    neighbours: int,
    out: Path | None,
    progress: str,
    quiet: bool,
    as_json: bool,
    engine: str | None,
    precision: str | None,
) -> int:
    """Show what in IMAGES speaks for their class, and similar photos.

    IMAGES are files, folders, archives, tables. A picture with a heat map for each, a page, and
    JSON are written into a folder.
    """
    from tlearn.runs.directory import check_free, free_name
    from tlearn.runs.explanation import explain as explain_all
    from tlearn.runs.explanation_files import lines_of, record_of, to_json, write_explanations

    opened = open_run(run, engine, precision, None)
    folder = out or free_name(opened.path.resolve().name, Path("explanations"))
    check_free(folder)
    explanations = explain_all(
        opened,
        images,
        method=method,
        label=label,
        neighbours=neighbours,
        progress=console_progress(quiet, progress),
    )
    if all(explanation.problem for explanation in explanations):
        return fail(
            f"no image can be read: {explanations[0].problem}; give photos",
            as_json=progress == "json",
        )
    write_explanations(opened, explanations, folder)
    if as_json:
        print(to_json([record_of(explanation) for explanation in explanations]), end="")
        return 0
    for explanation in explanations:
        print(*lines_of(explanation), sep="\n")
    print(f"the page is {folder / 'explanations.html'}")
    return 0
