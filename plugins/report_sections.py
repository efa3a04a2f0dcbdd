"""The plain sections of every report: what was left out, where the time went, the configuration."""

from collections import Counter, defaultdict
from html import escape
from typing import Any

from tlearn.backbones import ReportSection, hookimpl

FILES = 20  # named of each reason


def _table(header: list[str], rows: list[list[str]], kind: str) -> str:
    """Return a table of HTML cells."""
    head = "".join(f"<th>{cell}" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}" for cell in row) for row in rows)
    return f'<div class="wide"><table class="{kind}"><thead><tr>{head}<tbody>{body}</table></div>'


def _left_out(run: Any) -> str:
    rows = run.problems()
    if not rows:
        return "<p>Nothing was left out: all files were read.</p>"
    often = Counter((row["kind"], row["reason"]) for row in rows)
    groups: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        kind, reason = row["kind"], escape(row["reason"])
        file = f"<code><bdi dir=ltr>{escape(row['file'])}</bdi></code>"
        alike = often[kind, row["reason"]] > 1
        key, line = (f"{kind}: {reason}", file) if alike else (kind, f"{file}: {reason}")
        groups[key].append(line)
    return "".join(map(_group, sorted(groups.items(), key=lambda group: -len(group[1]))))


def _group(group: tuple[str, list[str]]) -> str:
    reason, files = group
    more = [f"and {len(files) - FILES:,} more: see problems.csv"] if len(files) > FILES else []
    lines = "".join(f"<li>{line}" for line in [*files[:FILES], *more])
    start = "<details open>" if len(files) <= 5 else "<details>"
    return f"{start}<summary>{reason} ({len(files):,})</summary><ul>{lines}</ul></details>"


def _seconds(run: Any) -> str:
    spent = dict(run.metrics["seconds"])
    total = spent.pop("total")
    bar = '<span class="share"><i style="--v:{:.3f}"></i></span>'
    rows = [
        [escape(phase), f"{seconds:.1f} s", bar.format(seconds / max(total, 1e-9))]
        for phase, seconds in sorted(spent.items(), key=lambda part: -part[1])
    ]
    rate = f"{run.metrics['images_per_second']['prediction']:,.0f} photos a second"
    words = f"<p>{total:.1f} s before this page was written. The saved model predicts {rate}.</p>"
    return _table(["phase", "time", ""], rows, "seconds") + words


def _configuration(run: Any) -> str:
    config = dict(run.record["config"])
    stages = {f"stage {n}": stage for n, stage in enumerate(config.pop("stages", None) or (), 1)}
    rows = [
        [f"<code>{escape(key)}</code>", f"<code>{escape(_words(value))}</code>"]
        for key, value in {**config, **stages}.items()
        if value not in ("", None)
    ]
    versions = ", ".join(f"{name} {number}" for name, number in run.record["versions"].items())
    return _table(["key", "value"], rows, "plain") + f"<p>Versions: {escape(versions)}</p>"


def _words(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{key}: {v}" for key, v in value.items() if v not in ("", None))


@hookimpl
def tlearn_reports() -> list[ReportSection]:
    """Offer them, in the order of the page."""
    return [
        ReportSection("left-out", "What was left out, or remarked upon", _left_out),
        ReportSection("seconds", "Seconds by phase", _seconds),
        ReportSection("configuration", "Configuration", _configuration),
    ]
