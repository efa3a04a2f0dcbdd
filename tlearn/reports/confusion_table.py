"""Which class is taken for which: a table that stays readable with a hundred classes."""

from collections import Counter

from tlearn.reports.contents import Contents
from tlearn.reports.markup import name, paragraph, text
from tlearn.runs.class_figures import class_order
from tlearn.runs.measurement import Figures, confused_pairs

PAIRS = 15  # most confused pairs listed
MOST = 200  # classes in the table
CORNER = "<small>true ↓ predicted →</small>"
FEW = 12  # classes up to which there is room beside the table


def confusion_table(contents: Contents) -> str:
    """Return the table, and the most confused pairs."""
    figures, labels = contents.figures, contents.labels
    order, more = _shown(class_order(figures), contents)
    head = "".join(
        f"<th scope=col><span><bdi title='{text(labels[k])}'>{text(labels[k])}</bdi></span>"
        for k in order
    )
    rows = "".join(_row(figures, labels, k, order) for k in order)
    words = (
        f"Rows are what the {contents.split} photos are, columns what the model says. Classes that "
        f"are confused with each other stand side by side. Click a number to see its photos.{more}"
    )
    few = len(labels) <= FEW
    matrix = (
        f'<div class="wide matrix-box"><table class="matrix {"few" if few else "many"}" '
        f'style="--n:{len(labels)}"><thead><tr><th>{CORNER}{head}<tbody>{rows}</table></div>'
    )
    pairs, photos = _pairs(contents), '<div id="cell-photos" aria-live="polite"></div>'
    if few:
        return f'{paragraph(words)}<div class="beside">{matrix}<div>{pairs}</div></div>{photos}'
    return paragraph(words) + matrix + photos + pairs


def _shown(order: list[int], contents: Contents) -> tuple[list[int], str]:
    """Return the classes that there is room for, those in most confusions, and a remark."""
    if len(order) <= MOST:
        return order, ""
    labels, confusions = contents.labels, Counter[str]()
    for true, other, count in confused_pairs(contents.figures):
        confusions.update({true: count, other: count})
    some = sorted(order, key=lambda k: -confusions[labels[k]])[:MOST]
    remark = f" Of the {len(order):,} classes these are the {MOST} that are confused most."
    return [k for k in order if k in set(some)], remark


def _row(figures: Figures, labels: list[str], true: int, order: list[int]) -> str:
    counts, n = figures["confusion"][labels[true]], figures["per_class"][labels[true]]["n"]
    cells = []
    for other in order:
        count = counts.get(labels[other], 0)
        kind = "r" if other == true else "w"
        cells.append(_cell(true, other, count, count / n, kind) if count else "<td>")
    return f"<tr><th scope=row>{name(labels[true])}{''.join(cells)}"


def _cell(true: int, other: int, count: int, share: float, kind: str) -> str:
    return (
        f'<td class="{kind}" style="--s:{100 * share:.0f}%"><button data-cell="{true},{other}">'
        f"{count}</button>"
    )


def _pairs(contents: Contents) -> str:
    pairs = confused_pairs(contents.figures)
    if not pairs:
        return paragraph("No photo was taken for another class.")
    numbers = {label: k for k, label in enumerate(contents.labels)}
    lines = "".join(
        f'<li><button data-cell="{numbers[true]},{numbers[other]}">{count} of '
        f"{contents.figures['per_class'][true]['n']}</button> {name(true)}, taken for {name(other)}"
        for true, other, count in pairs[:PAIRS]
    )
    more = f" (the first {PAIRS} of {len(pairs)})" if len(pairs) > PAIRS else ""
    return f"<h3>Most confused{more}</h3><ol class='pairs'>{lines}</ol>"
