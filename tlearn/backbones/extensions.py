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

    What is exported is a folder. tlearn adds ``metadata.json`` to it and, if there is a loader,
    ``predict.py``, and compares what that answers with what the run answers.

    Attributes:
        name: What the command calls the format.
        summary: One line for people.
        export: ``export(run, folder)`` writes the model of a :class:`tlearn.Run` into an empty
            folder; if it raises, the folder is removed.
        load: ``load(folder)`` opens what was exported and returns a function from pixels, uint8
            ``(n, size, size, 3)``, to probabilities ``(n, classes)``. Its source becomes part of
            ``predict.py``, so it is a plain function that imports what it needs, and its docstring
            says what must be installed.
        stand_in: The same for comparing where ``load`` raises an ImportError, because the runtime
            of the format is none of Python's.
        modules: The modules that ``export`` and ``load`` need beside tlearn's own.
        install: What to ``pip install`` where one of them is missing.
        agreement: The least share of images with the likeliest class of the run.
    """

    name: str
    summary: str
    export: Callable[[Any, Path], None] = field(repr=False)
    load: Callable[[Path], Any] | None = field(default=None, repr=False)
    stand_in: Callable[[Path], Any] | None = field(default=None, repr=False)
    modules: tuple[str, ...] = ()
    install: str = ""
    agreement: float = 0.99


@dataclass(frozen=True)
class ReportSection:
    """A part of ``report.html``, with which a training ends.

    Attributes:
        name: Unique among sections.
        title: Its heading.
        render: ``render(run)`` returns HTML for a :class:`tlearn.Run`, without the heading.
    """

    name: str
    title: str
    render: Callable[[Any], str] = field(repr=False)
