"""``tlearn label-next``."""

import json
from pathlib import Path

import click

from tlearn.cli.options import (
    ENGINE,
    JSON,
    PATH,
    QUIET,
    RUN,
    check_out,
    config_options,
    open_run,
    path_option,
)
from tlearn.progress import console_progress
from tlearn.text import printable, shell


@click.command()
@RUN
@click.argument("folder", type=PATH)
@click.option(
    "-n", "number", type=click.IntRange(min=1), default=50, show_default=True, help="How many."
)
@path_option("--copy", "OUT", "Copy them into this new folder, with a table to fill in.")
@path_option("--csv", "FILE", "Write a table of them, with a column for the classes.")
@config_options(*ENGINE, "tta")
@QUIET
@JSON
def label_next(
    run: Path,
    folder: Path,
    number: int,
    copy: Path | None,
    csv: Path | None,
    quiet: bool,
    as_json: bool,
    engine: str | None,
    precision: str | None,
    tta: str | None,
) -> None:
    """Choose the photos of FOLDER that are most worth labelling for RUN.

    Those that it is unsure of, and that are unlike each other. Photos that RUN knows are left out,
    and near copies. FOLDER may be an archive or a table, too.
    """
    check_out(csv, "--csv")
    if copy is not None and copy.exists():
        raise click.UsageError(f"--copy takes a folder that does not exist yet, not {str(copy)!r}")
    from tlearn.runs.active_learning import TABLE, label_next as choose

    model = open_run(run, engine, precision, tta)
    chosen = choose(model, folder, number, progress=console_progress(quiet))
    if csv is not None:
        chosen.write_table(csv)
    if copy is not None:
        chosen.copy(copy)
    if as_json:
        counts = {"photos": chosen.photos, "known": chosen.known, "copies": chosen.copies}
        record = counts | {"unreadable": chosen.unreadable, "next": chosen.rows()}
        print(json.dumps(record, indent=2, ensure_ascii=False))
        return
    print("\n".join(map(printable, chosen.text.splitlines())))
    for table in filter(None, (csv, copy / TABLE if copy else None)):
        print(
            f"fill in the column label of {table}; then add the photos to {model.photo_folder} and "
            f"train again, or continue on them alone: "
            f"{shell('tlearn', 'finetune', table, '--from', run)}"
        )
