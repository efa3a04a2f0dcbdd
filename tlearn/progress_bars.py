"""Progress bars on a terminal, drawn by rich."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.progress import Task as RichTask
from rich.text import Text

from tlearn.text import printable


class _RateColumn(TextColumn):
    """Units per second, over the whole task."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: RichTask) -> Text:
        rate = task.completed / task.elapsed if task.elapsed else 0.0
        speed = f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"
        return Text(f"{speed} {task.fields['unit']}/s", style="cyan")


class _BarTask:
    def __init__(self, bars: RichProgress, title: str, total: int, unit: str) -> None:
        self.bars = bars
        self.id = bars.add_task(title, total=total, unit=unit, note="")

    def advance(self, n: int = 1, note: str = "") -> None:
        self.bars.advance(self.id, n)
        if note:
            self.bars.update(self.id, note=note)


class ProgressBars:
    """Bars with rate and time left, drawn by rich."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[_BarTask]:
        """Show a bar that stays, full, when the work is done."""
        columns = (
            TextColumn("{task.description:<26}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with RichProgress(*columns, console=self.console) as bars:
            yield _BarTask(bars, title, total, unit)

    def say(self, line: str) -> None:
        """Print the line above the bars."""
        self.console.print(printable(line), markup=False, soft_wrap=True)
