"""What a search of configurations gives: its trials, the best, and what that gains."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.config import RunConfig
from tlearn.csv_files import csv_text
from tlearn.experiments.trials import values_text
from tlearn.metrics import METRICS, Metric
from tlearn.runs.charts import render
from tlearn.runs.measurement import LEVEL, Gain, paired_gain, with_interval
from tlearn.runs.run import Run
from tlearn.runs.trial_charts import trials_of_search
from tlearn.settings import flow
from tlearn.text import epochs_text

SHOWN = 10  # trials in the table for people


@dataclass(frozen=True)
class Trial:
    """One configuration of a search.

    Attributes:
        number: From 1 in the order of the search; 0 is the configuration that was given.
        values: By dotted keys.
        share: The part of the epochs of its stages that it was given.
        config: All of it, as YAML.
        figures: On validation, by their keys in ``metrics.json``; empty if it failed.
        images: How many images they are of.
        epochs: Trained.
        error: Why it failed.
    """

    number: int
    values: dict[str, Any]
    share: float = 1.0
    config: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    images: int = 0
    epochs: int = 0
    seconds: float = 0.0
    error: str = ""

    @property
    def text(self) -> str:
        """Its values for people."""
        if not self.number:
            return "as given"
        return values_text({key: flow(value) for key, value in self.values.items()})

    def rank(self, metric: Metric) -> tuple[float, float]:
        """Return what is less for a better one; its figures must not be empty."""
        sign = -1 if metric.higher_is_better else 1
        return sign * self.figures[metric.key], self.figures["log_loss"]

    def result(self, metric: Metric) -> str:
        """Return its figures for people, or why it failed."""
        if not self.figures:
            return f"failed: {self.error}"
        words = with_interval(self.figures["accuracy"], self.images)
        if metric.key != "accuracy":
            words = f"{metric.name} {self.figures[metric.key]:{metric.form}}, accuracy {words}"
        return f"{words}, {epochs_text(self.epochs)}, {self.seconds:.0f} s"


@dataclass(frozen=True)
class Tuning:
    """A search and its comparison.

    Attributes:
        path: The folder with everything.
        metric: By which trials are compared.
        trials: In the order of the search; the first is the configuration that was given.
        best: The trial that scores best on validation.
        config: Its configuration, as in ``best.yaml``.
        runs: ``best`` and ``default``, each trained with several seeds; the same ones where no
            trial was better than the configuration that was given.
    """

    path: Path
    metric: Metric
    trials: Sequence[Trial]
    best: Trial
    config: RunConfig
    runs: Mapping[str, Sequence[Run]]

    @cached_property
    def gain(self) -> Gain:
        """What the best configuration gains over the given one, on images that no trial saw."""
        right = {name: _right(runs) for name, runs in self.runs.items()}
        return paired_gain(right["best"], right["default"])

    @property
    def better(self) -> bool:
        """Whether the best configuration gains more than could be noise."""
        return self.gain.share > 0 and self.gain.p_value < LEVEL

    @property
    def verdict(self) -> str:
        """The gain in a line for people."""
        if not self.best.number:
            return "no trial was better on validation than the configuration that was given"
        n, repeats = self.gain.images, len(self.runs["best"])
        words = f"{self.gain.text} on {n} test images that no trial saw"
        words += f", over {repeats} seeds" if repeats > 1 else ""
        if self.gain.p_value >= LEVEL:
            return f"no gain that could be told from noise: {words}"
        return f"{'a gain' if self.gain.share > 0 else 'a loss'}: {words}"

    @property
    def ranking(self) -> list[Trial]:
        """The trials that could be trained, the best first."""
        scored = [trial for trial in self.trials if trial.figures]
        return sorted(scored, key=lambda trial: trial.rank(self.metric))

    def table(self) -> str:
        """Return the best trials and the comparison as lines for people."""
        lines = [
            f"{trial.number:>3}  {trial.result(self.metric)}\n     {trial.text}"
            for trial in self.ranking[:SHOWN]
        ]
        failed = sum(not trial.figures for trial in self.trials)
        more = f", {failed} of them failed" if failed else ""
        lines.append(f"{len(self.trials)} trials{more}, best first, on validation")
        for name, runs in self.runs.items():
            if name == "best" and not self.best.number:
                continue
            accuracies = [run.metrics["test"]["accuracy"] for run in runs]
            line = with_interval(float(np.mean(accuracies)), runs[0].metrics["test"]["n"])
            if self.metric.key != "accuracy":
                scores = [run.metrics["test"][self.metric.key] for run in runs]
                line += f", {self.metric.name} {np.mean(scores):{self.metric.form}}"
            lines.append(f"{name}: test accuracy {line}")
        return "\n".join([*lines, self.verdict])

    def record(self) -> dict[str, Any]:
        """Return what ``tuning.json`` holds."""
        return {
            "metric": self.metric.key,
            "best": asdict(self.best),
            "trials": [asdict(trial) for trial in self.trials],
            "runs": {name: [run.path.name for run in runs] for name, runs in self.runs.items()},
            "test": {
                name: [{key: run.metrics["test"].get(key) for key in METRICS} for run in runs]
                for name, runs in self.runs.items()
            },
            "gain": asdict(self.gain),
            "verdict": self.verdict,
        }


def _right(runs: Sequence[Run]) -> np.ndarray:
    """Return how often the runs are right about each test image, in the order of their names."""
    each = [
        sorted((p.file, p.correct) for p in run.held_out_predictions() if p.split == "test")
        for run in runs
    ]
    right = np.array([[correct for _, correct in one] for one in each])
    return np.asarray(right.mean(axis=0))


def plain(value: Any) -> Any:
    """Return a number as it is, and anything else as text."""
    return flow(value) if isinstance(value, bool) or not isinstance(value, int | float) else value


def write_results(tuning: Tuning) -> None:
    """Write the table, the pictures and the record of a search into its folder."""
    keys = list(dict.fromkeys(key for trial in tuning.trials for key in trial.values))
    columns = ["trial", *METRICS, "images", "share", "epochs", "seconds", *keys, "error"]
    rows = [
        [trial.number]
        + [trial.figures.get(key, "") for key in METRICS]
        + [trial.images, trial.share, trial.epochs, trial.seconds]
        + [flow(trial.values[key]) if key in trial.values else "" for key in keys]
        + [trial.error]
        for trial in tuning.trials
    ]
    picture = trials_of_search(
        [
            {"trial": trial.number, "score": trial.figures[tuning.metric.key], "share": trial.share}
            | {"values": {key: plain(value) for key, value in trial.values.items()}}
            for trial in tuning.trials
            if trial.figures
        ],
        tuning.metric,
    )
    files = {f"trials.{kind}": content for kind, content in render(picture).items()}
    files["trials.csv"] = csv_text(columns, rows).encode()
    files["tuning.json"] = json.dumps(tuning.record(), indent=2, ensure_ascii=False).encode()
    for name, content in files.items():
        (tuning.path / name).write_bytes(content)
