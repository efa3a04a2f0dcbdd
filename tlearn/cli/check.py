"""``tlearn check``."""

import json
import shlex
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlearn.cli.options import (
    CONFIG,
    DATA,
    ENGINE,
    JSON,
    QUIET,
    SET,
    check_out,
    config_options,
    path_option,
)

if TYPE_CHECKING:
    from tlearn.checks.finding import CheckResult, Finding

SHOWN = 5  # findings of each check
SHOWN_EDITS = 20


@click.command()
@DATA
@click.option("--files-only", is_flag=True, help="Look at files, names and classes alone: seconds.")
@click.option(
    "--fix",
    multiple=True,
    metavar="CHECK|PHOTO|all",
    help="Make the edits that these findings propose; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Show the edits of --fix, or all; make none.")
@path_option("--html", "FILE", "Write a page with thumbnails.")
@config_options("backbone", "weights", "size", "resize", "group", "disk_budget", *ENGINE)
@CONFIG
@SET
@QUIET
@JSON
def check(
    data: Path,
    files_only: bool,
    fix: tuple[str, ...],
    dry_run: bool,
    html: Path | None,
    config: Path | None,
    settings: dict[str, str],
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Look for what is wrong with DATA, and put it right.

    DATA is a folder, table or archive, as for 'tlearn finetune'. Its files, names, classes and what
    is on the photos are looked at. Photos are never changed: --fix writes edits, which 'tlearn data
    undo DATA' takes back. Findings do not change the exit code.
    """
    check_out(html, "--html")
    from tlearn.checks.check_page import write_page
    from tlearn.checks.data_check import check as check_data
    from tlearn.checks.finding import proposed_edits, summary
    from tlearn.settings import make_config

    full = make_config(config, settings, options)
    result = check_data(data, content=not files_only, config=full, quiet=quiet)
    chosen = result.of(*fix or ["all"]) if fix or dry_run else ()
    edits = proposed_edits(chosen)
    if html:
        write_page(result, html)
    if fix and not dry_run and edits:
        edits = result.apply(chosen)
    if as_json:
        more = {"edits": [vars(edit) for edit in edits], "made": bool(fix and not dry_run)}
        values = result.to_dict() | (more if fix or dry_run else {})
        print(json.dumps(values, ensure_ascii=False, indent=1))
        return
    print(summary(result))
    if not (fix or dry_run):
        _print_findings(result, files_only)
    else:
        _print_edits(list(map(str, edits)), made=bool(fix) and not dry_run, data=data)
    if html:
        print(f"the page is {html}")


def _print_findings(result: "CheckResult", files_only: bool) -> None:
    """Print the first findings of each check, with the edits that they propose."""
    from tlearn.checks.finding import severities
    from tlearn.text import printable

    for check, group in groupby(result.findings, key=lambda finding: finding.check):
        findings = list(group)
        reasons = {_reason(finding) for finding in findings}
        common = len(findings) > 1 and len(reasons) == 1  # is said once
        more = f": {printable(reasons.pop())}" if common else ""
        print(f"\n{check} ({severities(findings)}){more}")
        for finding in findings[:SHOWN]:
            names = " ~ ".join(finding.names[:2])
            print(f"  {printable(names if common else f'{names}: {_reason(finding)}')}")
        if len(findings) > SHOWN:
            print(f"  ... and {len(findings) - SHOWN} more: --json and --html list them")
    fixable = list(dict.fromkeys(f.check for f in result.findings if f.edits))
    if fixable:
        which = [*(["--files-only"] if files_only else []), "--fix", fixable[0]]
        command = shlex.join(["tlearn", "check", str(result.data), *which])
        print(f"\nnext: {command} --dry-run")


def _reason(finding: "Finding") -> str:
    return finding.reason + (f" [fix: {finding.fix}]" if finding.edits else "")


def _print_edits(edits: list[str], made: bool, data: Path) -> None:
    from tlearn.text import printable

    if not edits:
        print("no edits: these findings propose none, or they are made already")
        return
    count = f"{len(edits)} edit{'' if len(edits) == 1 else 's'}"
    print(f"{count} {'made' if made else 'proposed'}")
    for edit in edits[:SHOWN_EDITS]:
        print(f"  {printable(edit)}")
    if len(edits) > SHOWN_EDITS:
        print(f"  ... and {len(edits) - SHOWN_EDITS} more: --json lists them")
    if made:
        print(f"{shlex.join(['tlearn', 'data', 'undo', str(data)])} takes them back")
