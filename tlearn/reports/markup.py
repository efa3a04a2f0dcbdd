"""Pieces of HTML. Whatever comes from a user goes through :func:`text` or :func:`name`."""

from collections.abc import Iterable, Sequence
from html import escape

from tlearn.text import printable

LONG = 40  # characters from which a name is cut; pointing at it shows all of it


def text(value: object) -> str:
    """Return a value as HTML: escaped, control characters written out."""
    return escape(printable(str(value)))


def name(value: str) -> str:
    """Return a name as HTML: cut where there is no room, in its own direction of writing."""
    title = f' class="long" title="{text(value)}"' if len(value) >= LONG else ""
    return f"<bdi{title}>{text(value)}</bdi>"


def path(value: str) -> str:
    """Return a path as HTML, from left to right whatever its parts are written in."""
    parts = "/".join(f"<bdi dir=ltr>{text(part)}</bdi>" for part in value.split("/"))
    return f"<bdi dir=ltr>{parts}</bdi>"


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "", sortable: bool = False
) -> str:
    """Return a table.

    Args:
        header: Texts of its first row; none for a table without.
        rows: Cells as HTML.
        kind: Its classes of CSS.
        sortable: Whether a click on a heading sorts it.
    """
    cells = [f"<button data-sort>{text(h)}</button>" if sortable else text(h) for h in header]
    head = "".join(f"<th scope=col>{cell}" for cell in cells)
    body = "".join("<tr>" + "".join(f"<td>{cell}" for cell in row) for row in rows)
    head = f"<thead><tr>{head}" if cells else ""
    return f'<div class="wide"><table class="{kind}">{head}<tbody>{body}</table></div>'


def items(lines: Iterable[str]) -> str:
    """Return a list of lines of HTML."""
    return f"<ul>{''.join(f'<li>{line}' for line in lines)}</ul>"


def paragraph(content: str, kind: str = "") -> str:
    """Return a paragraph of HTML."""
    return f'<p class="{kind}">{content}</p>' if kind else f"<p>{content}</p>"
