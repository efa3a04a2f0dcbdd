"""CSV tables: every text is read back as it was written, and spreadsheets see no formulas."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

# What begins a formula in spreadsheets, with the wide forms of East Asia.
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def csv_line(cells: Iterable[Any]) -> str:
    """Return one row with its line end: texts quoted, numbers bare.

    A text that a spreadsheet would read as a formula gets an apostrophe in front.
    """
    out = io.StringIO()
    safe = [f"'{cell}" if isinstance(cell, str) and _formula(cell) else cell for cell in cells]
    csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerow(safe)
    return out.getvalue()


def csv_text(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a whole table, for :func:`csv_rows` to read."""
    return "".join(map(csv_line, (columns, *rows)))


def csv_rows(text: str) -> list[dict[str, str]]:
    """Return the rows of a table that :func:`csv_text` wrote, each by the names of its columns.

    Raises:
        ValueError: If it is none: a row has more or fewer cells than there are columns.
    """
    try:
        table = [
            [cell[1:] if cell.startswith("'") and _formula(cell) else cell for cell in row]
            for row in csv.reader(io.StringIO(text, newline=""), strict=True)
        ]
    except csv.Error as error:
        raise ValueError(str(error)) from None
    columns, *rows = table
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _formula(cell: str) -> bool:
    return cell.lstrip("'").startswith(_FORMULA)
