"""How good the trained classifiers are: sets by seeds by methods, and which is better.

A method is a preset of tlearn (``quick``, ``balanced``, ``best``, ...) or a baseline in plain Keras
(``plain``, ``linear``, ``onecycle``); words after its name are options of its process, as in
``"balanced --views 4"``. Every training is a whole process with an empty cache, on the splits that
tlearn draws with its seed, and is measured on the test split: a set's own, or else a fifth.

Defaults are tuned on seeds 0, 1 and 2 (the default) alone. Seeds 100, 101 and 102 (``--final``) are
for the last word on what was decided: nothing may be chosen by them.

Times are CPU seconds of all cores: other work on the machine changes them little.

A row for each training is written as it ends, to the ``.jsonl`` beside ``--out``; a later call does
not repeat what the same code gave with the same options and splits.
"""

import argparse
import hashlib
import json
import math
import tempfile
from collections.abc import Iterable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, SHARED, baseline, finetune
from benchmarks.paired import Scores, difference
from tlearn.config import RunConfig
from tlearn.data.scan import Manifest, scan
from tlearn.data.splits import draw_splits
from tlearn.runs.predictions import HeldOutPrediction, read_predictions

SETS = ("flowers", "clothing", "brain_tumor", "signs", "weather")
PRESETS = ("quick", "balanced", "best")
BASELINES = ("plain", "linear", "onecycle")
REFERENCE = "balanced"  # the method that all others are compared with
TUNING, FINAL = [0, 1, 2], [100, 101, 102]  # seeds
TEST = 0.2  # of a set without a test folder
BINS = 10  # of equally many photos
MEASURES = (  # which are compared photo by photo: key of a row, name, factor, decimals, better sign
    ("right", "accuracy, points", 100, 1, 1),
    ("losses", "log loss", 1, 3, -1),
)

Row = dict[str, Any]


def quality(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train what there is no row of; return all rows asked for, and tables of them."""
    place = arguments.out.with_suffix(".jsonl")
    rows = {key_of(row): row for row in read_rows(place)}
    places = [path.resolve() for path in arguments.data]
    places += [SHARED / "data" / name for name in arguments.sets or (() if places else SETS)]
    manifests = {path.name: scan(path) for path in places}
    result = []
    for seed, name, method in product(arguments.seeds, manifests, arguments.methods):
        drawn, _ = draw_splits(manifests[name], RunConfig().val, TEST, seed)
        splits = "".join(drawn.csv_parts())
        of_baseline = method.split()[0] in BASELINES
        row: Row = {
            "set": name,
            "seed": seed,
            "method": method,
            "backbone": None if of_baseline else arguments.backbone,
            "cpu": arguments.cpu,
            "code": digest_of_code(of_baseline),
            "splits": digest(splits.encode()),
        }
        if key_of(row) not in rows or arguments.rerun:
            rows[key_of(row)] = row | train(row, manifests[name], splits)
            with place.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[key_of(row)]) + "\n")
            print(f"  {name} seed {seed} {method}: {text_of(rows[key_of(row)])}", flush=True)
        result.append(rows[key_of(row)])
    if arguments.before:
        earlier = {task_of(row): row for row in read_rows(arguments.before)}
        both = [earlier[task_of(row)] for row in result if task_of(row) in earlier]
        result += [row | {"method": f"{row['method']} before"} for row in both]
    of_photos = {key for key, *_ in MEASURES}
    slim = [{key: value for key, value in row.items() if key not in of_photos} for row in result]
    return {"tables": tables(result), "rows": slim}


def train(row: Row, manifest: Manifest, splits: str) -> Row:
    """Train by one method on one set; return its figures."""
    name, *options = row["method"].split()
    options += ["--seed", row["seed"]]
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        table = run / "predictions.csv"
        if name in BASELINES:
            run.mkdir()
            (run / "splits.csv").write_text(splits, encoding="utf-8")
            done = baseline(name, manifest.folder, run / "splits.csv", table, *options)
        else:
            options += ["--preset", name, "--test", TEST]
            options += ["--backbone", row["backbone"]] if row["backbone"] else []
            done = finetune(manifest.data, run, Path(place) / "cache", *options)
        predictions = read_predictions(table.read_text(encoding="utf-8"))
    return figures_of([p for p in predictions if p.split == "test"]) | {
        "seconds": done.seconds,
        "cpu_seconds": done.cpu_seconds,
        "memory_mib": done.memory,
    }


def figures_of(predictions: list[HeldOutPrediction]) -> Row:
    """Return accuracy, log loss in nats, squared calibration error, and the first two by photo."""
    right = np.array([p.correct for p in predictions], float)
    losses = {p.file: -math.log(max(p.probability_of_label, 1e-6)) for p in predictions}
    return {
        "accuracy": float(right.mean()),
        "log_loss": float(np.mean(list(losses.values()))),
        "calibration": squared_calibration(np.array([p.probability for p in predictions]), right),
        "right": {p.file: int(p.correct) for p in predictions},
        "losses": {file: round(loss, 5) for file, loss in losses.items()},
    }


def squared_calibration(probability: np.ndarray, right: np.ndarray) -> float:
    """Return the mean squared difference of probability and frequency, in bins of equal mass.

    The estimate is without the bias of small bins (Kumar, Liang and Ma, Verified Uncertainty
    Calibration, 2019), so it may be below 0, and may be averaged over trainings.

    Args:
        probability: Of the likeliest class, 0 to 1, ``(n,)``.
        right: Whether that is the true one, 0 or 1, ``(n,)``.
    """
    order = np.argsort(probability, kind="stable")
    total = 0.0
    for part in np.array_split(order, min(BINS, len(order) // 2)):
        frequency = right[part].mean()
        noise = frequency * (1 - frequency) / (len(part) - 1)
        total += len(part) * ((probability[part].mean() - frequency) ** 2 - noise)
    return float(total / len(order))


def text_of(row: Row) -> str:
    """Return the figures of a training for the terminal."""
    figures = f"accuracy {row['accuracy']:.3f}, log loss {row['log_loss']:.3f}"
    return f"{figures}, {row['cpu_seconds']:.0f} CPU seconds"


def tables(rows: list[Row]) -> list[str]:
    """Return the rows as Markdown: the methods on the sets, and their differences."""
    sets = list(dict.fromkeys(row["set"] for row in rows))
    of_method: dict[str, list[Row]] = {}
    for row in rows:
        of_method.setdefault(row["method"], []).append(row)
    seeds = ", ".join(map(str, sorted({row["seed"] for row in rows})))
    lines = [
        f"Seeds {seeds}; accuracy on the test split, means over the seeds.",
        "",
        f"| method | {' | '.join(sets)} | mean | log loss | calibration error | CPU seconds |",
        "|---" * (len(sets) + 5) + "|",
    ]
    lines += [f"| `{method}` | {figure_cells(its, sets)} |" for method, its in of_method.items()]
    if len(of_method) < 2:
        return lines
    reference = REFERENCE if REFERENCE in of_method else next(iter(of_method))
    others = [method for method in of_method if method != reference]
    for measure, name, *form in MEASURES:
        scores = {method: scores_of(its, measure) for method, its in of_method.items()}
        lines += [
            "",
            f"| against `{reference}` | {name}, 95% interval | sets better, worse "
            "| p on these sets | p at large |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| `{method}` | {difference_cells(scores[method], scores[reference], *form)} |"
            for method in others
        ]
    return lines


def figure_cells(rows: list[Row], sets: list[str]) -> str:
    """Return the cells of the figures of a method."""

    def means(key: str) -> np.ndarray:
        return np.array([np.mean([r[key] for r in rows if r["set"] == name]) for name in sets])

    accuracies = means("accuracy")
    error = np.sqrt(max(0.0, means("calibration").mean()))
    figures = [*accuracies, accuracies.mean(), means("log_loss").mean(), error]
    return " | ".join([f"{x:.3f}" for x in figures] + [f"{means('cpu_seconds').mean():.0f}"])


def scores_of(rows: Iterable[Row], measure: str) -> Scores:
    """Return what one method scores on each photo, by set and seed."""
    scores: dict[str, dict[int, dict[str, float]]] = {}
    for row in rows:
        scores.setdefault(row["set"], {})[row["seed"]] = row[measure]
    return scores


def difference_cells(first: Scores, second: Scores, factor: int, digits: int, sign: int) -> str:
    """Return the cells of a difference.

    Args:
        first: Of the method that is compared.
        second: Of the method that it is compared with.
        factor: Shown in place of 1.
        digits: Shown after the point.
        sign: 1 where more is better, -1 where less is.
    """
    one = difference(first, second)
    mean, low, high = (
        f"{factor * (one.mean + k * one.half if k else one.mean):+.{digits}f}" for k in (0, -1, 1)
    )
    better, worse = (sum(k * sign * d > 0 for d in one.sets.values()) for k in (1, -1))
    cells = f"{mean} [{low}, {high}] | {better}, {worse} | {one.p:.3f} | {one.p_at_large:.3f}"
    return cells.replace("+nan", "?").replace("nan", "?")  # with a single seed, or a single set


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file, none if there is none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def task_of(row: Row) -> tuple[Any, ...]:
    """Return set, seed and method of a training."""
    return row["set"], row["seed"], row["method"]


def key_of(row: Row) -> tuple[Any, ...]:
    """Return all that a training depends on."""
    return *task_of(row), row["backbone"], row["cpu"], row["code"], row["splits"]


def digest(content: bytes) -> str:
    """Return a short digest."""
    return hashlib.sha256(content).hexdigest()[:12]


@cache
def digest_of_code(of_baseline: bool) -> str:
    """Return a digest of what trains: the baselines, or tlearn without its page."""
    files = [ROOT / "benchmarks" / "keras_baselines.py"]
    if not of_baseline:
        paths = sorted(p for name in ("tlearn", "plugins") for p in (ROOT / name).rglob("*.py"))
        files = [path for path in paths if "web" not in path.relative_to(ROOT).parts]
    return digest(b"".join(path.read_bytes() for path in files))
