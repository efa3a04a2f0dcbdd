"""What a plugin may offer beside backbones, as frozen data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tlearn.backbones.contract import Backbone

if TYPE_CHECKING:
    from tlearn.config import Stage

Ends = Literal["", "stage", "training"]  # what a decision ends, the least first


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


@dataclass(frozen=True)
class Decision:
    """What a rule decides after an epoch.

    Attributes:
        state: What it is given after the next epoch of the stage: anything that can be written as
            JSON. It is part of the checkpoint, so a resumed training decides alike.
        factor: For the learning rate, unless the stage's schedule sets it.
        ends: What is over: nothing, this stage, or the training.
        reason: Why it is over, for people; nothing is said if empty.

    Raises:
        ValueError: If the factor is not positive, or there is no such thing to end.
    """

    state: Any = None
    factor: float = 1.0
    ends: Ends = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.factor < float("inf"):
            raise ValueError(f"factor must be a positive number. Received: {self.factor!r}")
        if self.ends not in get_args(Ends):
            raise ValueError(f"ends must be one of {get_args(Ends)}. Received: {self.ends!r}")


@dataclass(frozen=True)
class Rule:
    """What decides after each epoch whether a stage goes on, and at which learning rate.

    Attributes:
        name: Unique among the rules of a stage.
        after_epoch: ``after_epoch(state, row)`` returns a :class:`Decision`; the state is that of
            its decision before, ``None`` in the first epoch, and the row as in ``history.csv``.
    """

    name: str
    after_epoch: Callable[[Any, Mapping[str, Any]], Decision] = field(repr=False)
