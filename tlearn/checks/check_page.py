"""The findings of a data set as one HTML page, with thumbnails in it and nothing from elsewhere."""

from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from tlearn.atomic import atomic_file
from tlearn.checks.finding import MEANINGS, CheckResult, Finding, severities, summary
from tlearn.data.read_data import data_name
from tlearn.data.thumbnails import thumbnail_url
from tlearn.errors import DataError, os_errors_as
from tlearn.reports import markup
from tlearn.text import printable, shell

MOST = 60  # findings of each check
MOST_THUMBNAILS = 600  # of 3 to 5 kB each
PIXELS = 112
STYLE = """
:root { color-scheme: light dark; --line: #8884; --dim: light-dark(#5f5f5f, #a8a8a8); }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1, h2 { overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 .5rem; font-size: 1.15rem; }
small, .dim { color: var(--dim); font-weight: normal; font-size: .85rem; }
ul { list-style: none; padding: 0; display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(15.5rem, 1fr)); }
li { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem; overflow-wrap: anywhere; }
img { width: 112px; height: 112px; border-radius: .3rem; margin-right: .3rem; }
nav a { display: inline-block; margin: 0 1rem .3rem 0; }
.error { color: light-dark(#b71c1c, #ff8a80); } .warning { color: light-dark(#8f5300, #ffb74d); }
section > p { color: var(--dim); font-size: .9rem; margin: .5rem 0; overflow-wrap: anywhere; }
code { font-size: .85rem; }
"""


def write_page(result: CheckResult, path: Path, command: Sequence[str] = ()) -> None:
    """Write the page: of each check the surest findings.

    Args:
        result: What was found.
        path: The file.
        command: The words of the command that finds the same; ``tlearn check DATA`` if not given.

    Raises:
        DataError: If the file cannot be written.
    """
    what = f"{str(path)!r} cannot be written"
    with os_errors_as(DataError, what, "choose another place"), atomic_file(path) as temporary:
        temporary.write_text(page(result, command), encoding="utf-8")


def page(result: CheckResult, command: Sequence[str] = ()) -> str:
    """Return the page, as :func:`write_page` writes it."""
    command = command or ("tlearn", "check", str(result.data))
    title = escape(printable(f"Check of {data_name(result.data)}"))
    links = " ".join(
        f'<a href="#{k}">{escape(check)} ({count})</a>'
        for k, (check, count) in enumerate(result.counts.items())
    )
    sections: list[str] = []
    thumbnails = 0
    for k, (check, group) in enumerate(groupby(result.findings, key=lambda f: f.check)):
        findings = list(group)
        items = []
        for finding in findings[:MOST]:
            room = max(0, min(2, MOST_THUMBNAILS - thumbnails))
            urls = [thumbnail_url(result.path_of(n), PIXELS) for n in finding.names[:room]]
            thumbnails += len(urls)
            items.append(_item(finding, urls))
        rest = len(findings) - len(items)
        more = f"<p>and {rest} more: {_code(*command, '--json')} lists them" if rest else ""
        if any(finding.edits for finding in findings):
            more += f"<p>to fix all of these: {_code(*command, '--fix', check)}"
        meaning = f"<p>{escape(MEANINGS[check])}</p>" if check in MEANINGS else ""
        sections.append(
            f'<section><h2 id="{k}">{escape(check)} <small class="{findings[0].severity}">'
            f"{severities(findings)}</small></h2>{meaning}<ul>{''.join(items)}</ul>{more}</section>"
        )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<h1>{title}</h1><p>{summary(result)}</p><nav>{links}</nav>{''.join(sections)}"
    )


def _code(*words: str) -> str:
    return f"<code>{escape(printable(shell(*words)))}</code>"


def _item(finding: Finding, urls: list[str]) -> str:
    """Return one finding: what it is about, why, and what would be done about it."""
    pictures = "".join(f'<img src="{url}" alt="">' for url in urls if url)
    names = "<br>".join(map(markup.path, finding.names[:2]))
    fix = f'<div class="dim">fix: {escape(printable(finding.fix))}</div>' if finding.edits else ""
    reason = escape(printable(finding.reason))
    return f"<li>{pictures}<div><b>{names}</b></div><div>{reason}</div>{fix}"
