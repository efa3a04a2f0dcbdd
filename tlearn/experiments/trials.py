"""A study: one training for each combination of values of some settings, side by side."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tlearn.config import RunConfig
from tlearn.data.read_data import check_data, data_name
from tlearn.errors import ConfigError
from tlearn.object_stores import as_path
from tlearn.progress import Progress, console_progress
from tlearn.runs import charts
from tlearn.runs.directory import check_free, free_name
from tlearn.runs.measurement import LEVEL, holm, with_interval
from tlearn.runs.run import Run
from tlearn.runs.run_comparison import compare_runs
from tlearn.settings import flow, make_config
from tlearn.training.pipeline import finetune

STUDIES = Path("studies")  # where studies go that are given no place
MOST = 100  # trainings of one study


@dataclass(frozen=True)
class Trial:
    """One training of a study.

    Attributes:
        values: By the dotted keys that vary, its values as YAML.
    """

    values: dict[str, str]
    run: Run

    @property
    def name(self) -> str:
        """Its values for people."""
        return values_text(self.values)

    @property
    def figures(self) -> dict[str, Any]:
        """Its figures on the split that is held back longest."""
        return dict(self.run.metrics[self.run.measured_split])


@dataclass(frozen=True)
class Study:
    """Trainings that differ in some settings, on the same splits with the same seed.

    Attributes:
        path: The folder with the runs, ``study.json``, ``study.svg`` and ``study.png``.
    """

    trials: Sequence[Trial]
    path: Path

    @cached_property
    def ranking(self) -> list[Trial]:
        """The trials, the most accurate first; of equals the one with less log loss."""
        return sorted(
            self.trials, key=lambda t: (-t.figures["accuracy"], t.figures["log_loss"] or 0.0)
        )

    @cached_property
    def p_values(self) -> dict[str, float]:
        """For each but the best: how likely a difference from it as large is by chance.

        McNemar's exact test on the images that no training saw, adjusted over all pairs (Holm,
        1979), because the best was chosen by the same images.
        """
        pairs = list(itertools.combinations(self.ranking, 2))
        tests = [compare_runs(one.run, other.run).p_value or 1.0 for one, other in pairs]
        return {
            other.name: p
            for (one, other), p in zip(pairs, holm(tests), strict=True)
            if one is self.ranking[0]
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return one record per trial, best first, as ``study.json`` has them."""
        return [
            {
                "values": trial.values,
                "run": trial.run.path.name,
                "split": trial.run.measured_split,
                "images": trial.figures["n"],
                "accuracy": trial.figures["accuracy"],
                "accuracy_ci95": trial.figures["accuracy_ci95"],
                "log_loss": trial.figures["log_loss"],
                "seconds": trial.run.metrics["seconds"]["total"],
                "p_value": self.p_values.get(trial.name),
            }
            for trial in self.ranking
        ]

    def table(self) -> str:
        """Return the ranking as lines for people."""
        width = max(len(trial.name) for trial in self.trials)
        lines = []
        for trial, row in zip(self.ranking, self.rows(), strict=True):
            p = row["p_value"]
            words = "best" if p is None else f"{'noise' if p >= LEVEL else 'worse'} (p = {p:.2g})"
            accuracy = with_interval(row["accuracy"], row["images"])
            lines.append(f"{trial.name:<{width}}  {accuracy}  {row['seconds']:.0f} s  {words}")
        split, n = self.ranking[0].run.measured_split, self.ranking[0].figures["n"]
        level = f"noise: p >= {LEVEL} against the best, adjusted for all pairs"
        return "\n".join([*lines, f"on {n} {split} images; {level}"])


def study(
    data: str | Path,
    out: str | Path | None = None,
    *,
    vary: Mapping[str, Sequence[Any]],
    config: str | Path | RunConfig | None = None,
    quiet: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Study:
    """Train once for each combination of the values of some settings.

    The trainings share splits, seed and cached activations. What was trained before an interruption
    stays in the folder, as runs.

    Args:
        data: As of :func:`tlearn.finetune`.
        out: The folder to make; ``studies/<name of the data>`` if not given.
        vary: The values to try, by dotted key, as in ``{"head.hidden": [[], [64]]}``.
        config: A configuration or a YAML file of one, for all of them.
        quiet: Show nothing while it works.
        progress: Where to show progress instead of standard error.
        **options: Fields of :class:`tlearn.RunConfig`, for all of them.

    Raises:
        TlearnError: If an argument cannot be used, or a training fails.
    """
    data, progress = as_path(data), progress or console_progress(quiet)
    base = make_config(config, options=options)
    combinations = list(itertools.product(*vary.values()))
    if not 2 <= len(combinations) <= MOST:
        raise ConfigError(
            f"a study takes 2 to {MOST} trainings, and these values are {len(combinations)}; vary "
            f"a setting by several values, as in head.hidden=[],[64]"
        )
    trials = [dict(zip(vary, map(flow, values), strict=True)) for values in combinations]
    configs = [make_config(base, values) for values in trials]
    path = Path(out) if out else free_name(data_name(data), STUDIES)
    check_free(path)
    check_data(data)
    done = []
    for number, (values, one) in enumerate(zip(trials, configs, strict=True), start=1):
        progress.say(f"training {number} of {len(trials)}: {values_text(values)}")
        run = finetune(data, path / f"{number:02d}", config=one, progress=progress)
        if run.metrics["stopped"]:
            raise KeyboardInterrupt
        done.append(Trial(values, run))
    result = Study(done, path)
    curves = {trial.name: curve_of(trial.run) for trial in done}
    files = {"json": json.dumps(result.rows(), indent=2, ensure_ascii=False).encode()}
    files |= charts.render({"hconcat": list(charts.curves_of_runs(curves).values())})
    for kind, content in files.items():
        (path / f"study.{kind}").write_bytes(content)
    return result


def values_text(values: Mapping[str, str]) -> str:
    """Return values by their keys for people."""
    return ", ".join(f"{key}={value}" for key, value in values.items())


def curve_of(run: Run) -> list[dict[str, Any]]:
    """Return accuracy and loss on validation, of the probe and after each epoch."""
    probe = run.metrics["stages"][0]
    first = {"val_accuracy": probe["accuracy"], "val_loss": probe["log_loss"]}
    return [first, *run.history[list(first)].to_dict("records")]
