"""``tlearn check``."""

import json
from collections import Counter
from collections.abc import Sequence
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
    given_options,
    path_option,
)
from tlearn.text import printable, shell

if TYPE_CHECKING:
    from tlearn.checks.finding import CheckResult, Finding
    from tlearn.data.edits import Change

SHOWN = 5  # findings of each check
SHOWN_EDITS = 20


@click.command()
@DATA
@click.option("--files-only", is_flag=True, help="Look at files, names and classes alone: seconds.")
@click.option(
    "--fix",
    multiple=True,
    metavar="CHECK|PHOTO|all",
    help="Make the edits that these findings propose; may be repeated. 'all' stands for those that "
    "nobody has to look at: suspect labels, outliers and the like are named, too.",
)
@click.option("--dry-run", is_flag=True, help="Show the edits of --fix, or all; make none.")
@path_option("--html", "FILE", "Write a page with thumbnails.")
@config_options(
    *("backbone", "weights", "size", "resize", "group", "disk_budget", "activation_store"),
    *(*ENGINE, "cluster"),
)
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
    result = check_data(data, content=not files_only, which=fix, config=full, quiet=quiet)
    which = list(fix) or ["all"] * dry_run
    chosen = result.of(*which)
    edits = proposed_edits(chosen)
    own = {"fix", "dry_run", "html", "quiet", "as_json"}
    command = ["tlearn", "check", str(data), *given_options(without=own)]
    if html:
        write_page(result, html, command)
    if edits and not dry_run:
        edits = result.apply(chosen)
    if as_json:
        more = {"edits": [vars(edit) for edit in edits], "made": not dry_run}
        values = result.to_dict() | (more if which else {})
        print(json.dumps(values, ensure_ascii=False, indent=1))
        return
    print(summary(result))
    if not which:
        _print_findings(result, command)
    else:
        _print_edits(list(map(str, edits)), made=not dry_run, data=data)
    if "all" in which:
        _print_rest(result, which, edits, command)
    if html:
        print(f"the page is {html}")


def _print_findings(result: "CheckResult", command: list[str]) -> None:
    """Print the first findings of each check, with the edits that they propose."""
    from tlearn.checks.finding import MEANINGS, severities

    for check, group in groupby(result.findings, key=lambda finding: finding.check):
        findings = list(group)
        reasons = {_reason(finding) for finding in findings}
        common = len(findings) > 1 and len(reasons) == 1  # is said once
        more = f": {printable(reasons.pop())}" if common else ""
        print(f"\n{check} ({severities(findings)}){more}")
        if check in MEANINGS:
            print(f"  {MEANINGS[check]}")
        for finding in findings[:SHOWN]:
            names = " ~ ".join(finding.names[:2])
            print(f"  {printable(names if common else f'{names}: {_reason(finding)}')}")
        if len(findings) > SHOWN:
            print(f"  ... and {len(findings) - SHOWN} more: --json and --html list them")
    fixable = list(dict.fromkeys(f.check for f in result.findings if f.edits))
    if fixable:
        print(f"\nnext: {shell(*command, '--fix', fixable[0], '--dry-run')}")


def _print_rest(
    result: "CheckResult", which: Sequence[str], edits: Sequence["Change"], command: list[str]
) -> None:
    """Say which findings ``all`` does not stand for, and how their edits are made."""
    from tlearn.checks.finding import BY_EYE

    done = {*which, *(edit.path for edit in edits if edit.action == "exclude")}
    findings = [f for f in result.findings if f.edits and not {f.check, f.names[0]} & done]
    rest = Counter(f.check for f in findings if f.check in BY_EYE)
    if rest:
        counts = ", ".join(f"{count} {check}" for check, count in rest.items())
        words = [word for check in rest for word in ("--fix", check)]
        print(
            f"left out, for some may be right: {counts}; look at them (--html FILE), then: "
            f"{shell(*command, *words)}"
        )


def _reason(finding: "Finding") -> str:
    return finding.reason + (f" [fix: {finding.fix}]" if finding.edits else "")


def _print_edits(edits: list[str], made: bool, data: Path) -> None:
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
        print(f"{shell('tlearn', 'data', 'undo', str(data))} takes them back")
