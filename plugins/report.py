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


def _accuracy(found: dict[str, Any]) -> str:
    low, high = found["accuracy_ci95"]
    return f"{found['accuracy']:.1%} ({low:.1%} to {high:.1%})"


def _figures(run: Any) -> str:
    sides = [(side, run.metrics[side]) for side in ("test", "validation") if side in run.metrics]
    rows = [
        [side, _accuracy(m), f"{m['macro_f1']:.3f}", f"{m['log_loss']:.3f}", str(m["n"])]
        for side, m in sides
    ]
    return _table(["on", "accuracy (95 % interval)", "macro F1", "log loss", "images"], *rows)


def _classes(run: Any) -> str:
    side = "test" if "test" in run.metrics else "validation"
    rows = [
        [label, str(c["n"]), *(f"{c[name]:.2f}" for name in ("precision", "recall", "f1"))]
        for label, c in run.metrics[side]["per_class"].items()
    ]
    table = _table([f"class, on {side}", "images", "precision", "recall", "F1"], *rows)
    return _picture(run, "confusion", "which class is taken for which") + table


def _stages(run: Any) -> str:
    rows = [
        [
            s["boundary"],
            str(s["epochs"]),
            f"{s['seconds']:.0f}",
            _accuracy(s),
            "yes" if s["kept"] else "no better",
        ]
        for s in run.metrics["stages"]
    ]
    table = _table(["from", "epochs", "seconds", "validation (95 % interval)", "kept"], *rows)
    return table + _picture(run, "curves", "accuracy and loss over the epochs")


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
