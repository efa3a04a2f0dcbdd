"""``tlearn diff``."""

import json
from pathlib import Path

import click

from tlearn.cli.options import JSON, PATH, check_out, path_option


@click.command()
@click.argument("run", type=PATH)
@click.argument("other", type=PATH)
@click.option("--common", is_flag=True, help="Compare on the photos that both hold out.")
@path_option("--html", "FILE", "Also write a page with the photos where they differ.")
@JSON
def diff(run: Path, other: Path, common: bool, html: Path | None, as_json: bool) -> None:
    """Compare RUN and OTHER on the photos they hold out.

    Says which is better (McNemar's test), of which photos they say different classes, who is right,
    and what differs in configuration and photos. Runs that hold out other photos are refused.
    """
    check_out(html, "--html")
    from tlearn.reports.comparison_page import write_comparison
    from tlearn.runs.comparison_text import comparison_text
    from tlearn.runs.run import Run
    from tlearn.runs.run_comparison import diff as compare_two

    first = Run(run)
    comparison = compare_two(first, other, common=common)
    if html is not None:
        write_comparison(comparison, first, html)
    if as_json:
        print(json.dumps(comparison.record(), indent=2, ensure_ascii=False))
    else:
        print(comparison_text(comparison))
