"""Charts: learning curves that grow, confusions that can be clicked."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

Row = Mapping[str, Any]
GREEN = "#0b6e4f"
MOST_NUMBERS = 25  # classes whose counts still fit into the cells


def _data(rows: list[dict[str, Any]]) -> alt.Data:
    return alt.Data(values=rows)  # type: ignore[no-untyped-call]


def curves(epochs: Sequence[Row], words: Mapping[str, str]) -> alt.LayerChart | alt.FacetChart:
    """Return accuracy by epoch over all stages, with a line where a stage begins.

    Args:
        epochs: Records with ``stage``, ``accuracy`` and ``val_accuracy``.
        words: Texts for ``epoch``, ``accuracy``, ``training``, ``validation``.
    """
    rows, borders, before = [], [], None
    for number, row in enumerate(epochs, start=1):
        if row["stage"] != before:
            borders.append({"epoch": number - 0.5, "stage": row["stage"]})
            before = row["stage"]
        for side, key in (("training", "accuracy"), ("validation", "val_accuracy")):
            if row.get(key) is not None:
                rows.append({"epoch": number, "side": words[side], "accuracy": float(row[key])})
    x = alt.X(
        "epoch:Q",
        title=words["epoch"],
        axis=alt.Axis(tickMinStep=1, format="d"),
        scale=alt.Scale(domain=[0.5, max(2, len(epochs)) + 0.5]),
    )
    line = (
        alt.Chart(_data(rows))
        .mark_line(point=True)
        .encode(
            x=x,
            y=alt.Y(
                "accuracy:Q",
                title=words["accuracy"],
                axis=alt.Axis(format="%"),
                scale=alt.Scale(zero=False),
            ),
            color=alt.Color("side:N", title=None, legend=alt.Legend(orient="bottom")),
            tooltip=["epoch:Q", "side:N", alt.Tooltip("accuracy:Q", format=".1%")],
        )
    )
    border = alt.Chart(_data(borders)).encode(x="epoch:Q")
    names = border.mark_text(align="left", dx=4, dy=8, baseline="top").encode(
        text="stage:N", y=alt.value(0)
    )
    rule = border.mark_rule(strokeDash=[4, 4], opacity=0.6)
    return alt.layer(rule, names, line).properties(height=280)


def confusion(
    matrix: Sequence[Sequence[int]], labels: Sequence[str], words: Mapping[str, str]
) -> alt.LayerChart | alt.FacetChart:
    """Return the confusion matrix, true classes in rows; a click selects a cell as ``cell``.

    Args:
        matrix: Counts.
        labels: The classes.
        words: Texts for ``true``, ``predicted``, ``photos``, ``share``.
    """
    rows = [
        {
            "true": labels[i],
            "predicted": labels[j],
            "count": count,
            "share": count / max(1, sum(row)),
        }
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
    ]
    pick = alt.selection_point(name="cell", fields=["true", "predicted"], empty=False)
    base = alt.Chart(_data(rows)).encode(
        x=alt.X(
            "predicted:N",
            title=words["predicted"],
            sort=list(labels),
            axis=alt.Axis(labelAngle=-40, labelLimit=120),
        ),
        y=alt.Y("true:N", title=words["true"], sort=list(labels), axis=alt.Axis(labelLimit=120)),
    )
    strength = alt.Scale(domain=[0, 1], range=[0.08, 1.0])  # of one colour: for light and dark
    cells = (
        base.mark_rect(cursor="pointer", color=GREEN, stroke="#8884")
        .encode(
            opacity=alt.Opacity("share:Q", legend=None, scale=strength),
            strokeWidth=alt.condition(pick, alt.value(3), alt.value(1)),
            tooltip=[
                alt.Tooltip("true:N", title=words["true"]),
                alt.Tooltip("predicted:N", title=words["predicted"]),
                alt.Tooltip("count:Q", title=words["photos"]),
                alt.Tooltip("share:Q", title=words["share"], format=".0%"),
            ],
        )
        .add_params(pick)
    )
    if len(labels) > MOST_NUMBERS:
        return alt.layer(cells).properties(height=max_height(len(labels)))
    numbers = base.transform_filter("datum.count > 0").encode(text="count:Q")
    on_dark = numbers.transform_filter("datum.share > 0.5").mark_text(color="white", fontSize=13)
    on_light = numbers.transform_filter("datum.share <= 0.5").mark_text(fontSize=13)
    return alt.layer(cells, on_dark, on_light).properties(height=max_height(len(labels)))


def max_height(labels: int) -> int:
    """Return the height of a confusion matrix in pixels."""
    return max(260, min(720, 48 * labels + 90))
