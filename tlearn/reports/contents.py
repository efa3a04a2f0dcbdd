"""What the sections of a report are made of."""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tlearn.data.layouts import SPLITS
from tlearn.progress import Progress
from tlearn.reports.photos import Photos
from tlearn.runs.charts import Chart, render
from tlearn.runs.directory import FIGURES, RunDirectory
from tlearn.runs.measurement import Figures
from tlearn.runs.outputs import Outputs
from tlearn.runs.run import Run


@dataclass(frozen=True)
class Contents:
    """A run as its report needs it.

    Attributes:
        run: The run.
        thorough: Whether what takes seconds is computed, too: a training ends with a report
            without it.
        keep_figures: Whether pictures are written into the run.
        progress: Where to show progress.
    """

    run: Run
    thorough: bool
    keep_figures: bool
    progress: Progress

    @property
    def split(self) -> str:
        """The split that stands for the run."""
        return self.run.measured_split

    @property
    def figures(self) -> Figures:
        """Its figures, as of ``metrics.json``."""
        figures: Figures = self.run.metrics[self.split]
        return figures

    @property
    def labels(self) -> list[str]:
        """The classes, in the order of the outputs of the model."""
        return list(self.figures["per_class"])

    @cached_property
    def images(self) -> dict[str, int]:
        """How many photos each split has, of those that have any; copies count, too."""
        counts = {split: self.run.class_counts(split).total() for split in SPLITS}
        return {split: count for split, count in counts.items() if count}

    @property
    def ensemble(self) -> bool:
        """Whether the run averages others."""
        return "members" in self.run.record

    @cached_property
    def photos(self) -> Photos:
        """The held-out photos of the split, with what the model says of them."""
        some = [p for p in self.run.held_out_predictions() if p.split == self.split]
        return Photos.of(self.run.photo_folder, some, self.thorough)

    @cached_property
    def outputs(self) -> Outputs:
        """What the saved model gives for them."""
        return self.run.outputs().of_split(self.split)

    @property
    def probabilities(self) -> np.ndarray:
        """Of the photos that :attr:`numbers` are of, ``(n, classes)``, float64."""
        p = self.outputs.probabilities.astype(np.float64)
        return np.asarray(p / p.sum(axis=1, keepdims=True))

    @cached_property
    def numbers(self) -> np.ndarray:
        """The true class of each photo of :attr:`outputs`, as a position among the labels."""
        numbers = {label: k for k, label in enumerate(self.labels)}
        return np.array([numbers[str(label)] for label in self.outputs.labels])

    def draw(self, name: str, chart: Chart, caption: str) -> str:
        """Return a chart as HTML, and write it into the run as a picture."""
        files = render(chart)
        if self.keep_figures:
            RunDirectory(self.run.path).write_figure(name, files)
        return self._figure(name, files["svg"].decode(), caption)

    def drawn(self, name: str, caption: str) -> str:
        """Return a picture that the training has written into the run, as HTML."""
        svg = (self.run.path / FIGURES / f"{name}.svg").read_text(encoding="utf-8")
        return self._figure(name, svg, caption)

    def _figure(self, name: str, svg: str, caption: str) -> str:
        """Return a figure whose identifiers no other figure of the page has."""
        svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
        return f'<figure id="figure-{name}">{svg}<figcaption>{caption}</figcaption></figure>'
