"""The charts of a run and of a comparison, as Vega-Lite: the page shows them, files hold them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tlearn.text import printable

Row = Mapping[str, Any]
Chart = dict[str, Any]  # https://vega.github.io/vega-lite/docs/spec.html

# Legible on white and on the dark theme's background.
TRAINING, VALIDATION = "#3b82c4", "#d9730d"
SHARE = "#12805c"
BORDER = "#888"
WIDTH = 360  # pixels
INK = "currentColor"  # of texts and axes: that of the page around a chart; black in a file
THEME = {
    "background": "white",
    "axis": {
        **{f"{part}Color": INK for part in ("label", "title", "domain", "tick", "grid")},
        **{"gridOpacity": 0.15, "domainOpacity": 0.5, "tickOpacity": 0.5},
    },
    "legend": {"labelColor": INK, "titleColor": INK},
    "title": {"color": INK},
    "text": {"color": INK},
    "view": {"stroke": INK, "strokeOpacity": 0.2},
}
WORDS = "epoch accuracy loss training validation probe true predicted photos share pair".split()
ENGLISH = {word: word for word in WORDS} | {"pair": "{true} taken for {predicted}"}


def render(chart: Chart) -> dict[str, bytes]:
    """Return a chart as SVG and PNG, by file ending; the same chart gives the same bytes.

    Control characters in names are written as escapes: an SVG cannot hold them.
    """
    return _draw({"config": THEME, **_printable(chart)})


def _draw(chart: Chart) -> dict[str, bytes]:
    import vl_convert

    svg = vl_convert.vegalite_to_svg(chart)
    return {"svg": svg.encode(), "png": vl_convert.svg_to_png(svg, scale=2)}


def _printable(value: Any) -> Any:
    """Escape what XML forbids in all strings of a chart."""
    if isinstance(value, dict):
        return {key: _printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return printable(value) if isinstance(value, str) else value


def number_field(field: str, **more: Any) -> dict[str, Any]:
    """Return the encoding of a field that holds numbers."""
    return {"field": field, "type": "quantitative", **more}


def name_field(field: str, **more: Any) -> dict[str, Any]:
    """Return the encoding of a field that holds names."""
    return {"field": field, "type": "nominal", **more}


def text_layer(field: str, when: str, **mark: Any) -> Chart:
    """Return a layer with a field's values as texts, of the rows for which a condition holds."""
    transform = [{"filter": when}]
    encoding = {"text": name_field(field)}
    return {"transform": transform, "mark": {"type": "text", **mark}, "encoding": encoding}


def learning_curves(epochs: Sequence[Row], probe: Row) -> dict[str, Chart]:
    """Return ``accuracy`` and ``loss`` over all epochs; see :func:`learning_curve`."""
    return {
        name: learning_curve(epochs, probe, name, width=str(WIDTH)) | {"width": WIDTH}
        for name in ("accuracy", "loss")
    }


def learning_curve(
    epochs: Sequence[Row],
    probe: Row | None,
    quantity: str = "accuracy",
    words: Mapping[str, str] = ENGLISH,
    width: str = "width",
) -> Chart:
    """Return one quantity over all epochs, with a line where a stage begins.

    Args:
        epochs: Rows as of ``history.csv``.
        probe: The quantity on validation before the first epoch, at which the curve begins;
            ``None`` while it is not known.
        quantity: ``accuracy`` or ``loss``.
        words: Texts for all of :data:`WORDS`.
        width: The width in pixels, as an expression of Vega: names of stages are cut to fit.
    """
    rows: list[dict[str, Any]] = []
    starts: list[dict[str, Any]] = []
    if probe is not None:
        rows.append({"epoch": 0, "split": words["validation"], "value": probe.get(quantity)})
        starts.append({"epoch": 0, "stage": words["probe"]})
    for number, row in enumerate(epochs, start=1):
        if number == 1 or row["epoch"] == 1:
            starts.append({"epoch": number - 0.5, "stage": row["stage"]})
        for split, prefix in (("training", ""), ("validation", "val_")):
            value = row.get(prefix + quantity)
            rows.append({"epoch": number, "split": words[split], "value": value})
    ends = [-0.2, max(2, len(epochs)) + 0.5]
    edges = [*(start["epoch"] for start in starts), ends[1]]
    for start, (begin, end) in zip(starts, pairwise(edges), strict=True):
        start["room"] = (end - begin) / (ends[1] - ends[0])
    form = ".0%" if quantity == "accuracy" else ".3~g"
    beside = {"align": "left", "dx": 4, "color": BORDER}
    room = {"expr": f"max(1, datum.room * {width} - 8)"}
    borders = {
        "data": {"values": starts},
        "encoding": {"x": number_field("epoch")},
        "layer": [  # names in two rows: the probe and the first stage are close
            {"mark": {"type": "rule", "strokeDash": [4, 4], "color": BORDER}},
            text_layer("stage", "datum.epoch == 0", y=0, dy=-20, **beside),
            text_layer("stage", "datum.epoch > 0", y=0, dy=-8, limit=room, **beside),
        ],
    }
    splits = [words["training"], words["validation"]]
    value = number_field("value", title=words[quantity])
    line = {
        "data": {"values": [row for row in rows if row["value"] is not None]},
        "mark": {"type": "line", "point": True},
        "encoding": {
            "x": number_field(
                "epoch",
                title=words["epoch"],
                axis={"tickMinStep": 1, "format": "d", "grid": False},
                scale={"domain": ends, "nice": False},
            ),
            "y": value | {"axis": {"format": form}, "scale": {"zero": False}},
            "color": name_field(
                "split",
                title=None,
                legend={"orient": "bottom"},
                scale={"domain": splits, "range": [TRAINING, VALIDATION]},
            ),
            "tooltip": [number_field("epoch"), name_field("split"), value],
        },
    }
    return {"height": 280, "layer": [borders, line]}


def curves_of_runs(runs: Mapping[str, Sequence[Row]]) -> dict[str, Chart]:
    """Return ``accuracy`` and ``loss`` on validation over the epochs of several runs.

    Args:
        runs: By name, ``val_accuracy`` and ``val_loss`` of the probe and after each epoch.
    """
    rows = [
        {"run": name, "epoch": epoch} | {key: row[key] for key in ("val_accuracy", "val_loss")}
        for name, history in runs.items()
        for epoch, row in enumerate(history)
    ]
    color = name_field(
        "run", title=None, sort=list(runs), legend={"orient": "bottom", "columns": 2}
    )
    epoch = number_field("epoch", axis={"tickMinStep": 1, "format": "d", "grid": False})
    return {
        quantity: {
            "data": {"values": rows},
            "width": WIDTH,
            "height": 280,
            "mark": {"type": "line", "point": True},
            "encoding": {
                "x": epoch,
                "y": number_field(
                    f"val_{quantity}", title=f"validation {quantity}", scale={"zero": False}
                ),
                "color": color,
            },
        }
        for quantity in ("accuracy", "loss")
    }


def loss_against_rate(searches: Sequence[Row]) -> Chart:
    """Return the mean losses over the rates of searches, with a line at each suggestion.

    Args:
        searches: Each with ``part``, ``rates``, ``means`` and ``suggestion``.
    """
    return {"hconcat": [_search(search) for search in searches]}


def _search(search: Row) -> Chart:
    rows = [
        {"rate": rate, "loss": loss}
        for rate, loss in zip(search["rates"], search["means"], strict=True)
    ]
    rate = number_field("rate", scale={"type": "log"}, axis={"format": "~e", "grid": False})
    line = {
        "data": {"values": rows},
        "mark": {"type": "line", "color": TRAINING},
        "encoding": {"x": rate | {"title": "learning rate"}, "y": number_field("loss")},
    }
    suggestion = {
        "data": {"values": [{"rate": search["suggestion"]}]},
        "mark": {"type": "rule", "color": VALIDATION, "size": 2},
        "encoding": {"x": rate},
    }
    title = f"{search['part']}: {search['suggestion']:.1e}"
    return {"title": title, "width": 320, "height": 240, "layer": [line, suggestion]}


def accuracy_against_cost(rows: Sequence[Row]) -> Chart:
    """Return backbones by what an image costs and how accurate they are, with the frontier.

    Args:
        rows: As :meth:`tlearn.experiments.ranking.Comparison.rows` gives them.
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
    domain = [min(costs) / 1.5, max(costs) * 2]
    cost = number_field(
        "cost",
        title="milliseconds per image on this machine",
        axis={"format": "~g", "grid": False},
        scale={"type": "log", "domain": domain, "nice": False},
    )
    bounds = [min(point["low"] for point in points), max(point["high"] for point in points)]
    accuracy = number_field(
        "accuracy",
        title="accuracy of the probe, cross-validated, 95% interval",
        axis={"format": ".0%"},
        scale={"domain": bounds, "nice": True},
    )
    legend = {"orient": "bottom", "titleLimit": 400, "labelExpr": "datum.value ? 'yes' : 'no'"}
    colour = name_field(
        "frontier",
        title="no other is both quicker and more accurate",
        legend=legend,
        scale={"domain": [True, False], "range": [VALIDATION, TRAINING]},
    )
    step = {"type": "line", "interpolate": "step-after", "color": VALIDATION, "opacity": 0.6}
    dot = {"type": "point", "filled": True, "size": 60, "opacity": 1}
    spread = {"y": number_field("low"), "y2": {"field": "high"}, "color": colour}
    return {
        "data": {"values": points},
        "encoding": {"x": cost, "y": accuracy},
        "layer": [
            {"transform": [{"filter": "datum.frontier"}], "mark": step},
            {"mark": "rule", "encoding": spread},
            {"mark": dot, "encoding": {"color": colour}},
            text_layer("backbone", "datum.above", align="left", dx=7, dy=-7),
            text_layer("backbone", "!datum.above", align="left", dx=7, dy=11),
        ],
        "width": 520,
        "height": 320,
    }
