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
from tlearn.web.explanation_process import explain

PAGES = 50  # of photos with heat maps, which are removed when others are looked at
WORK = background.Recent[tuple[str, ...], background.BackgroundTask](100)  # by what it is about


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


@dataclass(frozen=True)
class _Heat:
    """Explanations that are made, and the folder of their pictures."""

    task: background.BackgroundTask
    folder: Path

    def remove(self) -> None:
        self.task.replaced = True
        shutil.rmtree(self.folder, ignore_errors=True)


HEAT = background.Recent[tuple[str, ...], _Heat](PAGES, _Heat.remove)


def heat_maps(run: Path, photos: Sequence[Path], scratch: Path) -> background.BackgroundTask:
    """Return the task that explains photos, as :func:`explain` does; it begins if it did not."""
    names = "\n".join(map(str, photos))
    digest = hashlib.blake2b(names.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    # Another run may get the name of a deleted one.
    written = (run / "model.keras").stat().st_mtime_ns
    key = (str(run), str(written), digest)
    heat = HEAT.get(key)
    if heat is None:
        folder = scratch / f"heat-{secrets.token_hex(8)}"
        heat = _Heat(background.start(lambda p: explain(run, photos, folder, p)), folder)
    HEAT[key] = heat  # the last that was looked at
    return heat.task


def forget(task: background.BackgroundTask) -> None:
    """Have a task begin again when it is asked for next; it failed, and that was said."""
    for key, heat in [(k, heat) for k, heat in list(HEAT.items()) if heat.task is task]:
        HEAT.pop(key, heat).remove()
