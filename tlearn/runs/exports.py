"""``export`` and ``report``: what is made of a finished run by what plugins offer."""

from contextlib import AbstractContextManager
from pathlib import Path

from tlearn.atomic import atomic_directory, atomic_file
from tlearn.backbones import Exporter, load_registry
from tlearn.errors import PluginError, TlearnError, one_line
from tlearn.progress import Progress, Silent
from tlearn.runs.directory import check_free
from tlearn.runs.html_report import report as render
from tlearn.runs.run import Run


def export(run: Run | str | Path, form: str, out: str | Path | None = None) -> Path:
    """Write the model of a run in another form.

    Args:
        run: The run, or its directory.
        form: The name of a format; ``tlearn plugins`` lists them.
        out: Where to; ``model_FORMAT``, or ``model`` and the format's suffix, in the run directory
            if not given. It must not exist.

    Returns:
        The file or folder that was written, whole.

    Raises:
        TlearnError: If there is no such run or format, the path is taken, or the exporter fails;
            nothing is left behind then.

    Example:
        >>> tlearn.export("runs/photos", "openvino")  # doctest: +SKIP
    """
    exporter = load_registry().exporter(form)
    run = run if isinstance(run, Run) else Run(run)
    name = f"model{exporter.suffix}" if exporter.suffix else f"model_{form}"
    path = Path(out) if out else run.path / name
    check_free(path)
    try:
        with _place(exporter, path) as place:
            exporter.export(run, place)
    except TlearnError:
        raise
    # An exporter may be a stranger's, and calls libraries that raise what they please.
    except Exception as error:
        raise PluginError(
            f"the export to {form} failed ({type(error).__name__}: {one_line(error)}); nothing was "
            f"written"
        ) from error
    return path


def _place(exporter: Exporter, path: Path) -> AbstractContextManager[Path]:
    return atomic_file(path) if exporter.suffix else atomic_directory(path)


def report(
    run: Run | str | Path, out: str | Path | None = None, progress: Progress | None = None
) -> Path:
    """Write one HTML page about a run, which needs nothing beside it.

    Args:
        run: The run, or its directory.
        out: The file; ``report.html`` in the run directory if not given. It is written anew.
        progress: Where to say which sections could not be drawn; the page says so too.

    Raises:
        RunError: If there is no such run.
    """
    sections = [section for plugin in load_registry().plugins for section in plugin.reports]
    run = run if isinstance(run, Run) else Run(run)
    page, failed = render(run, sections)
    for name, why in failed.items():
        (progress or Silent()).say(f"the section {name} of the report could not be drawn: {why}")
    path = Path(out) if out else run.path / "report.html"
    with atomic_file(path) as file:
        file.write_text(page, encoding="utf-8")
    return path
