"""What a plugin may offer beside backbones, as frozen data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlearn.backbones.contract import Backbone

if TYPE_CHECKING:
    from tlearn.config import Stage


@dataclass(frozen=True)
class Preset:
    """Which stages to train, chosen by ``--preset``.

    Attributes:
        name: What ``--preset`` calls it.
        summary: One line for people.
        stages_for: ``stages_for(backbone)`` returns how many views are cached per training image,
            and the stages after the probe.
    """

    name: str
    summary: str
    stages_for: Callable[[Backbone], tuple[int, "Sequence[Stage]"]] = field(repr=False)


@dataclass(frozen=True)
class Exporter:
    """A format to export models in, chosen by ``tlearn export RUN FORMAT``.

    Attributes:
        name: What the command calls the format.
        summary: One line for people.
        suffix: What its files end in, ``.tflite`` for instance; empty if it writes a folder.
        export: ``export(run, path)`` writes the model of a :class:`tlearn.Run` over an empty file,
            or into an empty folder; if it raises, what it wrote is removed.
    """

    name: str
    summary: str
    suffix: str
    export: Callable[[Any, Path], None] = field(repr=False)


@dataclass(frozen=True)
class ReportSection:
    """A part of the page that ``tlearn report RUN`` writes.

    Attributes:
        name: Unique among sections.
        title: Its heading.
        render: ``render(run)`` returns HTML for a :class:`tlearn.Run`, without the heading.
    """

    name: str
    title: str
    render: Callable[[Any], str] = field(repr=False)
