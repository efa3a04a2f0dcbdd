"""``export`` and ``report``: finished runs in other forms, by plugins."""

from html import escape
from pathlib import Path
from string import Template

import yaml

from tlearn.atomic import atomic_directory, atomic_file
from tlearn.backbones import ReportSection, load_registry
from tlearn.errors import PluginError, RunError, TlearnError, one_line, os_errors_as
from tlearn.progress import Progress, Silent
from tlearn.runs.directory import check_free
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


def export(run: Run | str | Path, form: str, out: str | Path | None = None) -> Path:
    """Write the model of a run in another format.

    Args:
        run: The run, or its directory.
        form: The name of a format; ``tlearn plugins`` lists them.
        out: Where to; ``model_FORMAT``, or ``model`` and the format's suffix, in the run directory
            if not given. It must not exist.

    Returns:
        The file or folder that was written, whole.

    Raises:
        TlearnError: If there is no such run or format, the path is taken, or the exporter fails;
            nothing is written then.

    Example:
        >>> tlearn.export("runs/photos", "openvino")  # doctest: +SKIP
    """
    exporter = load_registry().exporter(form)
    run = run if isinstance(run, Run) else Run(run)
    name = f"model{exporter.suffix}" if exporter.suffix else f"model_{form}"
    path = Path(out) if out else run.path / name
    check_free(path)
    try:
        with (atomic_file if exporter.suffix else atomic_directory)(path) as place:
            exporter.export(run, place)
    except TlearnError:
        raise
    # A plugin's exporter may raise anything.
    except Exception as error:
        raise PluginError(
            f"the export to {form} failed ({type(error).__name__}: {one_line(error)}); nothing was "
            f"written"
        ) from error
    return path


def report(
    run: Run | str | Path, out: str | Path | None = None, progress: Progress | None = None
) -> Path:
    """Write one HTML page about a run, which needs nothing beside it.

    Args:
        run: The run, or its directory.
        out: The file; ``report.html`` in the run directory if not given. It is overwritten.
        progress: Where to report which sections could not be drawn; the page does too.

    Raises:
        RunError: If there is no such run, or the file cannot be written.
    """
    sections = [section for plugin in load_registry().plugins for section in plugin.reports]
    run = run if isinstance(run, Run) else Run(run)
    parts = [_section(run, section, progress or Silent()) for section in sections]
    path = Path(out) if out else run.path / "report.html"
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
    unwritten = os_errors_as(
        RunError, f"the report {str(path)!r} cannot be written", "choose another --out"
    )
    with unwritten, atomic_file(path) as file:
        file.write_text(page, encoding="utf-8")
    return path


def _section(run: Run, section: ReportSection, progress: Progress) -> str:
    """Return a section as HTML; of one that fails, why."""
    try:
        content = section.render(run)
        if not isinstance(content, str):
            raise TypeError(f"render must return HTML, it returned {content!r}")
    # A plugin's section may raise anything; the rest of the page is still useful.
    except Exception as error:  # noqa: BLE001
        why = f"{type(error).__name__}: {one_line(error)}"
        progress.say(f"the section {section.name} of the report could not be drawn: {why}")
        content = f'<p class="failed">Not drawn: {escape(why)}</p>'
    heading = f'<h2 id="{escape(section.name)}">{escape(section.title)}</h2>'
    return f"{heading}\n<section>\n{content}\n</section>"
