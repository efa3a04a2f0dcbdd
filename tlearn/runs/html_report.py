"""One page about a run, made of the sections that plugins offer; it needs nothing beside it."""

from collections.abc import Sequence
from html import escape
from string import Template

import yaml

from tlearn.backbones import ReportSection
from tlearn.errors import one_line
from tlearn.runs.run import Run

PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --line: #8884; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; margin-bottom: 0; }
h2 { margin-top: 2.5rem; }
section, pre { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
img { max-width: 100%; background: white; border-radius: .3rem; }
.failed { color: #c33; }
</style>
</head>
<body>
<h1>$title</h1>
<p>$subtitle</p>
$sections
<details><summary>The whole record</summary><pre>$record</pre></details>
</body>
</html>
""")


def report(run: Run, sections: Sequence[ReportSection]) -> tuple[str, dict[str, str]]:
    """Return the page as HTML, and why sections failed, by name; the page says so too."""
    failed: dict[str, str] = {}
    parts = []
    for section in sections:
        try:
            content = section.render(run)
            if not isinstance(content, str):
                raise TypeError(f"render must return HTML, it returned {content!r}")
        # It may be a stranger's; the rest of the page is still worth having.
        except Exception as error:  # noqa: BLE001
            failed[section.name] = f"{type(error).__name__}: {one_line(error)}"
            content = f'<p class="failed">Not drawn: {escape(failed[section.name])}</p>'
        heading = f'<h2 id="{escape(section.name)}">{escape(section.title)}</h2>'
        parts.append(f"{heading}\n<section>\n{content}\n</section>")
    data, config = run.record["data"], run.record["config"]
    images, classes = sum(data["images"].values()), len(run.metrics["validation"]["per_class"])
    page = PAGE.substitute(
        title=escape(run.path.resolve().name),
        subtitle=escape(
            f"{config['backbone']} on {images} images of {classes} classes from {data['path']}, "
            f"seed {config['seed']}"
        ),
        sections="\n".join(parts),
        record=escape(yaml.safe_dump(run.record, sort_keys=False, allow_unicode=True)),
    )
    return page, failed
