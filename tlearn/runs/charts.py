"""The charts of a run and of a comparison: the page shows them, files hold them as SVG and PNG.

Importing this takes Altair along, so it is imported where something is drawn.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from tlearn.runs.metrics import confused_pairs
from tlearn.text import printable

Row = Mapping[str, Any]
Chart = alt.LayerChart | alt.FacetChart | alt.HConcatChart  # what Altair says that it gives

# Legible on white and on the dark theme's background.
TRAINING, VALIDATION = "#3b82c4", "#d9730d"
SHARE = "#12805c"
MATRIX = 20  # classes up to which confusions are a matrix; beyond, the most confused pairs
CELL = 40  # pixels
PAIRS = 30  # pairs drawn
PICK = alt.selection_point(name="cell", fields=["true", "predicted"], empty=False)
WORDS = "epoch accuracy loss training validation probe true predicted photos share".split()
ENGLISH = {word: word for word in WORDS}


def rendered(chart: Chart) -> dict[str, bytes]:
    """Return a chart as SVG and PNG, by file ending; the same chart gives the same bytes.

    Control characters in names are written as escapes: an SVG cannot hold them.
    """
    import vl_convert

    svg = vl_convert.vegalite_to_svg(_printable(chart.to_dict()))
    return {"svg": svg.encode(), "png": vl_convert.svg_to_png(svg, scale=2)}


def _printable(value: Any) -> Any:
    """Escape what XML forbids in all strings of a specification."""
    if isinstance(value, dict):
        return {key: _printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return printable(value) if isinstance(value, str) else value


def _data(rows: list[dict[str, Any]]) -> alt.Data:
    return alt.Data(values=rows)  # type: ignore[no-untyped-call]


def learning_curves(epochs: Sequence[Row], probe: Row) -> Chart:
    """Return accuracy and loss over all epochs, side by side; see :func:`learning_curve`."""
    curves = [learning_curve(epochs, probe, name) for name in ("accuracy", "loss")]
    return alt.hconcat(*(curve.properties(width=360) for curve in curves))


def learning_curve(
    epochs: Sequence[Row],
    probe: Row | None,
    quantity: str = "accuracy",
    words: Mapping[str, str] = ENGLISH,
) -> Chart:
    """Return one quantity over all epochs, with a line where a stage begins.

    Args:
        epochs: Rows as of ``history.csv``.
        probe: The quantity on validation before the first epoch, at which the curve begins;
            ``None`` while it is not known.
        quantity: ``accuracy`` or ``loss``.
        words: Texts for all of :data:`WORDS`.
    """
    rows, starts = [], []
    if probe is not None:
        rows.append({"epoch": 0, "split": words["validation"], "value": probe.get(quantity)})
        starts.append({"epoch": 0, "stage": words["probe"]})
    for number, row in enumerate(epochs, start=1):
        if number == 1 or row["stage"] != epochs[number - 2]["stage"]:
            starts.append({"epoch": number - 0.5, "stage": row["stage"]})
        for split, prefix in (("training", ""), ("validation", "val_")):
            value = row.get(prefix + quantity)
            rows.append({"epoch": number, "split": words[split], "value": value})
    form = ".0%" if quantity == "accuracy" else ".3~g"
    splits = [words["training"], words["validation"]]
    line = (
        alt.Chart(_data([row for row in rows if row["value"] is not None]))
        .mark_line(point=True)
        .encode(
            x=alt.X("epoch:Q", title=words["epoch"])
            .axis(tickMinStep=1, format="d", grid=False)
            .scale(domain=[-0.2, max(2, len(epochs)) + 0.5], nice=False),
            y=alt.Y("value:Q", title=words[quantity]).axis(format=form).scale(zero=False),
            color=alt.Color("split:N", title=None)
            .legend(orient="bottom")
            .scale(domain=splits, range=[TRAINING, VALIDATION]),
            tooltip=["epoch:Q", "split:N", alt.Tooltip("value:Q", title=words[quantity])],
        )
    )
    border = alt.Chart(_data(starts)).encode(x="epoch:Q")
    names = [  # in two rows: the probe and the first stage are close
        border.transform_filter(f"datum.epoch {when} 0")
        .mark_text(align="left", dx=4, dy=shift, color="#888")
        .encode(text="stage:N", y=alt.value(0))
        for when, shift in (("==", -20), (">", -8))
    ]
    rule = border.mark_rule(strokeDash=[4, 4], color="#888")
    return alt.layer(rule, *names, line).properties(height=280)


def confusion(
    figures: Mapping[str, Any], words: Mapping[str, str] = ENGLISH, title: str = ""
) -> Chart:
    """Return which class is taken for which; a click selects a cell as ``cell``.

    Up to :data:`MATRIX` classes it is the whole matrix, true classes in rows, sized by their
    number; beyond that the most confused pairs, as bars.

    Args:
        figures: Of one split, as ``metrics.json`` has them.
        words: Texts for all of :data:`WORDS`.
        title: The title.
    """
    labels, counts = list(figures["per_class"]), figures["confusion"]
    whole = len(labels) <= MATRIX
    if whole:
        cells = [(true, other, counts[true].get(other, 0)) for true in labels for other in labels]
    else:
        cells = confused_pairs(figures)[:PAIRS]
    rows = [
        {
            "pair": f"{true} → {predicted}",
            "true": true,
            "predicted": predicted,
            "count": count,
            "share": count / max(1, figures["per_class"][true]["n"]),
        }
        for true, predicted, count in cells
    ]
    chart = _matrix(rows, labels, words) if whole else _pairs(rows, words)
    return chart.properties(**({"title": title} if title else {}))


def _matrix(rows: list[dict[str, Any]], labels: list[str], words: Mapping[str, str]) -> Chart:
    # All labels, each at its cell.
    axis: dict[str, Any] = {"labelLimit": 180, "labelOverlap": False, "labelFlush": False}
    base = alt.Chart(_data(rows)).encode(
        x=alt.X("predicted:N", title=words["predicted"], sort=labels).axis(labelAngle=-40, **axis),
        y=alt.Y("true:N", title=words["true"], sort=labels).axis(**axis),
    )
    strength = alt.Scale(domain=[0, 1], range=[0.08, 1.0])  # of one colour: for light and dark
    cells = base.mark_rect(cursor="pointer", color=SHARE, stroke="#8884").encode(
        opacity=alt.Opacity("share:Q", legend=None, scale=strength),
        strokeWidth=alt.condition(PICK, alt.value(3), alt.value(1)),
    )
    numbers = base.transform_filter("datum.count > 0").encode(text="count:Q")
    on_dark = numbers.transform_filter("datum.share > 0.5").mark_text(color="white", fontSize=13)
    on_light = numbers.transform_filter("datum.share <= 0.5").mark_text(fontSize=13)
    side = alt.Step(CELL)  # unlike a width, it leaves room for the labels on the page, too
    layers = alt.layer(_selectable(cells, words), on_dark, on_light)
    return layers.properties(width=side, height=side)


def _pairs(rows: list[dict[str, Any]], words: Mapping[str, str]) -> Chart:
    ticks = min(6, max((row["count"] for row in rows), default=1))
    bars = (
        alt.Chart(_data(rows))
        .mark_bar(cursor="pointer", color=VALIDATION)
        .encode(
            x=alt.X("count:Q", title=words["photos"]).axis(format="d", tickCount=ticks),
            y=alt.Y("pair:N", title=f"{words['true']} → {words['predicted']}", sort=None).axis(
                labelLimit=320
            ),
            opacity=alt.condition(PICK, alt.value(1), alt.value(0.8)),
        )
    )
    height = max(60, 20 * len(rows))
    return alt.layer(_selectable(bars, words)).properties(width=400, height=height)


def _selectable(chart: alt.Chart, words: Mapping[str, str]) -> alt.Chart:
    """Show the facts of a cell where the pointer is, and select what is clicked."""
    tooltips = [
        alt.Tooltip("true:N", title=words["true"]),
        alt.Tooltip("predicted:N", title=words["predicted"]),
        alt.Tooltip("count:Q", title=words["photos"]),
        alt.Tooltip("share:Q", title=words["share"], format=".0%"),
    ]
    return chart.encode(tooltip=tooltips).add_params(PICK)


def accuracy_against_cost(rows: Sequence[Row]) -> Chart:
    """Return backbones by what an image costs and how accurate they are, with the frontier.

    Args:
        rows: As :meth:`tlearn.training.ranking.Comparison.rows` gives them.
    """
    points = [
        {
            "backbone": row["backbone"],
            "cost": 1000 / row["images_per_second"],
            "accuracy": row["accuracy"],
            "low": row["accuracy_ci95"][0],
            "high": row["accuracy_ci95"][1],
            "frontier": row["frontier"],
            "above": number % 2 == 0,  # names of neighbours stand apart
        }
        for number, row in enumerate(sorted(rows, key=lambda row: -row["images_per_second"]))
    ]
    costs = [point["cost"] for point in points]
    bounds = [min(point["low"] for point in points), max(point["high"] for point in points)]
    base = alt.Chart(_data(points)).encode(
        x=alt.X("cost:Q", title="milliseconds per image on this machine")
        .axis(format="~g", grid=False)
        .scale(type="log", domain=[min(costs) / 1.5, max(costs) * 2], nice=False),
        y=alt.Y("accuracy:Q", title="accuracy of the probe, cross-validated, 95% interval")
        .axis(format=".0%")
        .scale(domain=bounds),
    )
    colour = (
        alt.Color("frontier:N", title="no other is both quicker and more accurate")
        .legend(orient="bottom", titleLimit=400, labelExpr="datum.value ? 'yes' : 'no'")
        .scale(domain=[True, False], range=[VALIDATION, TRAINING])
    )
    frontier = base.transform_filter("datum.frontier").mark_line(
        interpolate="step-after", color=VALIDATION, opacity=0.6
    )
    bars = base.mark_rule().encode(y="low:Q", y2="high:Q", color=colour)
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(color=colour)
    names = [
        base.transform_filter(f"datum.above == {above}")
        .mark_text(align="left", dx=7, dy=shift)
        .encode(text="backbone:N")
        for above, shift in (("true", -7), ("false", 11))
    ]
    return alt.layer(frontier, bars, dots, *names).properties(width=520, height=320)
