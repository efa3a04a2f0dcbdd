"""The hooks a plugin may implement; all are optional.

A hook returns one thing or several, or yields them. What it offers is chosen by name.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from tlearn.backbones.contract import Backbone
from tlearn.backbones.extensions import Exporter, Preset, ReportSection

if TYPE_CHECKING:
    from tlearn.config import Stage

hookspec = pluggy.HookspecMarker("tlearn")
hookimpl = pluggy.HookimplMarker("tlearn")


@hookspec
def tlearn_backbones() -> Backbone | Iterable[Backbone]:  # type: ignore[empty-body]
    """Return backbones, chosen by ``--backbone``."""


@hookspec
def tlearn_presets() -> Preset | Iterable[Preset]:  # type: ignore[empty-body]
    """Return presets, chosen by ``--preset``."""


@hookspec
def tlearn_exporters() -> Exporter | Iterable[Exporter]:  # type: ignore[empty-body]
    """Return export formats, chosen by ``tlearn export RUN FORMAT``."""


@hookspec
def tlearn_reports() -> ReportSection | Iterable[ReportSection]:  # type: ignore[empty-body]
    """Return sections for ``report.html``, with which a training ends."""


@hookspec
def tlearn_callbacks(stage: "Stage", run: Path) -> Any:
    """Return Keras callbacks for a stage that is about to be trained.

    Args:
        stage: The stage's settings.
        run: The run directory, which is being written.
    """


@hookspec
def tlearn_commands(cli: Any) -> None:
    """Add commands to a :class:`click.Group`; their names must be new."""
