"""``export`` and ``report``: finished runs in other forms, by plugins."""

import importlib.util
import json
from dataclasses import asdict
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import yaml

from tlearn import __version__
from tlearn.atomic import atomic_directory, atomic_file
from tlearn.backbones import Exporter, ReportSection, load_registry
from tlearn.config import Augmentation
from tlearn.errors import ConfigError, PluginError, RunError, TlearnError, one_line, os_errors_as
from tlearn.progress import Progress, Silent
from tlearn.runs.directory import check_free
from tlearn.runs.parity import Parity, check_parity
from tlearn.runs.predict_script import has_augmented_views, predict_script
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


def export(
    run: Run | str | Path,
    form: str,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write the model of a run in another format, and compare it with the run.

    Args:
        run: The run, or its directory.
        form: The name of a format; ``tlearn plugins`` lists them.
        out: The folder; ``export/FORMAT`` in the run directory if not given. It must not exist.
        progress: Where to show progress.

    Returns:
        The folder that was written, whole: the model, ``predict.py``, and ``metadata.json`` with
        the classes, how photos become pixels, and how the model compares with the run.

    Raises:
        TlearnError: If there is no such run or format, what it needs is not installed, the path is
            taken, the exporter fails, or its model predicts other classes than the run; nothing is
            written then.

    Example:
        >>> tlearn.export("runs/photos", "openvino")  # doctest: +SKIP
    """
    exporter = load_registry().exporter(form)
    run = run if isinstance(run, Run) else Run(run)
    path = Path(out) if out else run.path / "export" / form
    check_free(path)
    missing = [name for name in exporter.modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the format {form} needs {', '.join(missing)}, which is not installed; run "
            f"pip install '{exporter.install}'"
        )
    progress = progress or Silent()
    _ = run.model  # read now: where a function is traced, its weights would stay random
    try:
        with atomic_directory(path) as folder:
            exporter.export(run, folder)
            _describe(run, exporter, folder, progress)
    except TlearnError:
        raise
    # A plugin's exporter may raise anything.
    except Exception as error:
        raise PluginError(
            f"the export to {form} failed ({type(error).__name__}: {one_line(error)}); nothing was "
            f"written"
        ) from error
    return path


def _describe(run: Run, exporter: Exporter, folder: Path, progress: Progress) -> None:
    """Write ``metadata.json`` and ``predict.py`` beside a model, and compare it with its run."""
    classifier = run.classifier
    metadata: dict[str, Any] = {
        "format": exporter.name,
        "labels": classifier.labels,
        "input": "RGB pixels from 0 to 255, (n, size, size, 3)",
        "output": "probabilities, (n, classes)",
        "size": classifier.size,
        "resize": classifier.resize,
        "views": classifier.tta,
        "augment": Augmentation().model_dump() if has_augmented_views(classifier.tta) else None,
        "ranges": dict(zip(("integer", "float"), classifier.ranges, strict=True)),
        "backbone": classifier.backbone,
        "modules": classifier.modules,
        "run": run.path.resolve().name,
        "tlearn": __version__,
        "parity": None,
    }
    _write_metadata(folder, metadata)
    if exporter.load is None:
        progress.say(f"{exporter.name} has no loader: it is not compared with the run")
        return
    script = predict_script(exporter.name, exporter.load, classifier.tta)
    (folder / "predict.py").write_text(script, encoding="utf-8")
    parity = check_parity(run, exporter, folder, progress)
    _write_metadata(folder, metadata | {"parity": asdict(parity)})


def _write_metadata(folder: Path, metadata: dict[str, Any]) -> None:
    text = json.dumps(metadata, indent=2, ensure_ascii=False)
    (folder / "metadata.json").write_text(text + "\n", encoding="utf-8")


def parity_of(folder: Path) -> Parity | None:
    """Return how what was exported into a folder compares with its run, if it was compared."""
    parity = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))["parity"]
    return Parity(**parity) if parity else None


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
