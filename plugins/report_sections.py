"""The sections of every report."""

from base64 import b64encode
from html import escape
from typing import Any

from tlearn.backbones import ReportSection, hookimpl


def _table(*rows: list[str]) -> str:
    """Return an HTML table; the first row is its header."""
    head, *body = ["<td>".join(["", *map(escape, row)]) for row in rows]
    return f"<table><tr>{head.replace('<td>', '<th>')}<tr>{'<tr>'.join(body)}</table>"


def _picture(run: Any, name: str, words: str) -> str:
    content = b64encode((run.path / f"{name}.svg").read_bytes()).decode()
    return f'<img alt="{words}" src="data:image/svg+xml;base64,{content}">'


def _figures(run: Any) -> str:
    splits = [split for split in ("test", "validation") if split in run.metrics]
    rows = [
        [split, *run.metric_texts(split).values(), str(run.metrics[split]["n"])] for split in splits
    ]
    return _table(["measured on", *run.metric_texts("validation"), "images"], *rows)


def _accuracy(stage: dict[str, Any]) -> str:
    low, high = stage["accuracy_ci95"]
    return f"{stage['accuracy']:.1%} ({low:.1%} to {high:.1%})"


def _classes(run: Any) -> str:
    split = run.measured_split
    rows = [
        [label, str(c["n"]), *(f"{c[name]:.2f}" for name in ("precision", "recall", "f1"))]
        if c["n"]
        else [label, "no images", "", "", ""]
        for label, c in run.metrics[split]["per_class"].items()
    ]
    table = _table([f"class, on {split}", "images", "precision", "recall", "F1"], *rows)
    return _picture(run, "confusion", "confusion matrix") + table


def _stages(run: Any) -> str:
    rows = [
        [
            s["boundary"] or s["name"],
            str(s["epochs"]),
            f"{s['seconds']:.0f}",
            _accuracy(s),
            share,
        ]
        for s, share in zip(run.metrics["stages"], run.stage_shares, strict=True)
    ]
    header = ["from", "epochs", "seconds", "accuracy on validation (95% interval)", "share"]
    table = _table(header, *rows)
    gain = "".join(f"<p>{escape(line)}</p>" for line in run.gain_lines())  # of an ensemble
    return table + gain + _picture(run, "curves", "accuracy and loss over the epochs")


def _problems(run: Any) -> str:
    rows = [[p["file"], p["kind"], p["reason"]] for p in run.problems()]
    return _table(["file", "kind", "why"], *rows) if rows else "<p>None.</p>"


@hookimpl
def tlearn_reports() -> list[ReportSection]:
    """Offer them, in the order of the page."""
    return [
        ReportSection("figures", "How good it is", _figures),
        ReportSection("classes", "Class by class", _classes),
        ReportSection("stages", "How it was trained", _stages),
        ReportSection("problems", "Files that need a look", _problems),
    ]
