"""How well each class is recognised, as a table."""

from tlearn.reports.contents import Contents
from tlearn.reports.markup import name, paragraph, text
from tlearn.runs.class_figures import ClassFigures, Share, class_figures
from tlearn.text import percent

COLUMNS = {
    "class": "",
    "precision": "of the photos predicted as this class, how many are of it",
    "recall": "of its photos, how many are recognised",
    "F1": "the harmonic mean of precision and recall",
    "photos": "measured on",
    "trained on": "photos of it that the model has learned from",
}


def class_table(contents: Contents) -> str:
    """Return the table; a click on a heading sorts it."""
    head = "".join(
        f'<th scope=col title="{text(help)}"><button data-sort>{text(column)}</button>'
        for column, help in COLUMNS.items()
    )
    trained_on = contents.run.class_counts("train")
    rows = "".join(_row(c, trained_on[c.label]) for c in class_figures(contents.figures))
    return (
        paragraph(
            f"On the {contents.split} photos, with 95% intervals: of Wilson for precision and "
            f"recall; for F1 of Wilson for the share of photos that are both, of the class and "
            f"predicted as it, among those that are either. Click a heading to sort."
        )
        + f'<div class="wide"><table class="classes sortable"><thead><tr>{head}<tbody>{rows}'
        f"</table></div>"
    )


def _row(c: ClassFigures, trained_on: int) -> str:
    never = "never predicted" if c.images else "no photos"
    cells = [
        f"<td>{_share(share, otherwise)}"
        for share, otherwise in (
            (c.precision, never),
            (c.recall, "no photos"),
            (c.f1, "no photos"),
        )
    ]
    return f"<tr><th scope=row>{name(c.label)}{''.join(cells)}<td>{c.images}<td>{trained_on}"


def _share(share: Share | None, otherwise: str) -> str:
    """Return a share in figures and as a bar from 0 to 1 with its interval."""
    if share is None:
        return f'<span class="none">{otherwise}</span>'
    low, high = share.ci95
    bar = f"--v:{share.value:.3f};--l:{low:.3f};--h:{high:.3f}"
    return (
        f'<span class="share" data-value="{share.value:.6f}"><b>{percent(share.value)}</b> '
        f'<span class="ci">{percent(low)} to {percent(high)}</span><i style="{bar}"></i></span>'
    )
