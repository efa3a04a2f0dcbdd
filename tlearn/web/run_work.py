"""Exports, reports and heat maps of runs: commands of tlearn in processes of their own."""

import hashlib
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tlearn.backbones import Exporter, load_registry
from tlearn.progress import Progress
from tlearn.web import background
from tlearn.web.child import run_command
from tlearn.web.explanation_process import ShownExplanation, explain

WORK: dict[tuple[str, ...], background.BackgroundTask] = {}  # by what it is about, begun last


@dataclass(frozen=True)
class Format:
    """A format that a run can be exported in.

    Attributes:
        exporter: The exporter.
        install: What to run where something is not installed, else empty.
    """

    exporter: Exporter
    install: str


def formats() -> list[Format]:
    """Return the formats of all plugins, those that can be used first."""
    every = [
        Format(exporter, "" if all(map(find_spec, exporter.modules)) else exporter.install)
        for plugin in load_registry().plugins
        for exporter in plugin.exporters
    ]
    return sorted(every, key=lambda form: bool(form.install))


def exported(run: Path, form: str) -> Path:
    """Return the folder of an export, which need not be there."""
    return run / "export" / form


def export_task(run: Path, form: str) -> background.BackgroundTask | None:
    """Return the export that was begun last."""
    return WORK.get(("export", str(run), form))


def start_export(run: Path, form: str) -> None:
    """Export a run, in place of what was exported before."""

    def do(progress: Progress) -> None:
        shutil.rmtree(exported(run, form), ignore_errors=True)
        run_command(progress, "export", str(run), form)

    key = ("export", str(run), form)
    if key not in WORK or WORK[key].over.is_set():
        WORK[key] = background.start(do)


def report_task(run: Path) -> background.BackgroundTask | None:
    """Return the report that was begun last."""
    return WORK.get(("report", str(run)))


def start_report(run: Path) -> None:
    """Write the whole report of a run."""
    key = ("report", str(run))
    if key not in WORK or WORK[key].over.is_set():
        WORK[key] = background.start(lambda p: run_command(p, "report", str(run)))


def heat_maps(run: Path, photos: Sequence[Path], scratch: Path) -> background.BackgroundTask:
    """Return the task that explains photos, as :func:`explain` does; it begins if it did not."""
    names = "\n".join(map(str, photos))
    digest = hashlib.blake2b(names.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    written = (
        (run / "model.keras").stat().st_mtime_ns
    )  # another run may get the name of a deleted one
    key = ("heat", str(run), str(written), digest)

    def do(progress: Progress) -> dict[Path, ShownExplanation]:
        folder = scratch / f"heat-{secrets.token_hex(8)}"
        return explain(run, photos, folder, progress)

    if key not in WORK:
        WORK[key] = background.start(do)
    return WORK[key]


def forget(task: background.BackgroundTask) -> None:
    """Have a task begin again when it is asked for next; it failed, and that was said."""
    for key in [key for key, begun in WORK.items() if begun is task]:
        del WORK[key]
