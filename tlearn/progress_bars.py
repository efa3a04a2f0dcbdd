"""Progress bars on a terminal, drawn by rich."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _RateColumn(ProgressColumn):
    """Units per second, over the whole task."""

    def render(self, task: Task) -> Text:
        rate = task.completed / task.elapsed if task.elapsed else 0.0
        return Text(f"{rate:.1f} {task.fields['unit']}/s", style="cyan")


class _Bar:
    def __init__(self, bars: Progress, task: TaskID) -> None:
        self.bars, self.task = bars, task

    def advance(self, n: int = 1, note: str = "") -> None:
        self.bars.advance(self.task, n)
        if note:
            self.bars.update(self.task, note=note)


class ProgressBars:
    """Bars with rate and time left."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)

    @contextmanager
    def task(self, title: str, total: int, unit: str) -> Iterator[_Bar]:
        """Show a bar."""
        columns = (
            TextColumn("{task.description:<26}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=self.console) as bars:
            yield _Bar(bars, bars.add_task(title, total=total, unit=unit, note=""))

    def say(self, line: str) -> None:
        """Print the line above the bars."""
        self.console.print(line, markup=False, soft_wrap=True)
