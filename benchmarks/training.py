"""Whole trainings against plain Keras: processes from a cold start, on the same splits."""

import json
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import SHARED, baseline, finetune, median
from tlearn.runs.measurement import measured_split
from tlearn.runs.predictions import read_predictions

# Of trainings: the name of the activation cache that each fills or finds, and its options.
PRESETS = {
    "`--preset quick`": ("of quick", ("--preset", "quick")),
    "defaults": ("of defaults", ()),
    "defaults, warm cache": ("of defaults", ()),
}
EPOCHS = 2  # of each phase of InceptionV3


def against_plain(
    data: str,
    seeds: list[int],
    trainings: Mapping[str, tuple[str, tuple[object, ...]]] = PRESETS,
    plain: tuple[object, ...] = (),
) -> dict[str, Any]:
    """Train in several ways and with plain Keras; return medians of seconds, means of accuracies.

    Accuracy is on the test split where a set has one, else on validation, where it is slightly
    optimistic for tlearn, because it was used for model selection.
    """
    folder, rows = SHARED / "data" / data, []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as place:
            row: dict[str, Any] = {"seed": seed}
            for name, (cache, options) in trainings.items():
                run = Path(place) / name
                done = finetune(folder, run, Path(place) / cache, *options, "--seed", seed)
                metrics = json.loads(done.output)
                split = measured_split(metrics)
                row[f"{name}: seconds"] = done.seconds
                row[f"{name}: accuracy"] = metrics[split]["accuracy"]
                row[f"{name}: planned"] = metrics["plan"]["seconds"] / metrics["seconds"]["total"]
            table = Path(place) / "predictions.csv"
            done = baseline("plain", folder, run / "splits.csv", table, *plain, "--seed", seed)
            row["plain: seconds"] = done.seconds
            held_out = read_predictions(table.read_text(encoding="utf-8"))
            right = [p.correct for p in held_out if p.split == split]
            row["plain: accuracy"] = statistics.mean(right)
            for name in trainings:
                row[f"{name}: ratio"] = done.seconds / row[f"{name}: seconds"]
        rows.append(row)
        numbers = (f"{key} {value:.4g}" for key, value in row.items() if key != "seed")
        print(f"  {data} seed {seed}: {', '.join(numbers)}", flush=True)
    every = [
        {
            "name": name,
            "seconds": median(rows, f"{name}: seconds"),
            "accuracy": statistics.mean(row[f"{name}: accuracy"] for row in rows),
            "ratio": median(rows, f"{name}: ratio") if name in trainings else 1.0,
        }
        for name in (*trainings, "plain")
    ]
    return {"set": data, "split": split, "trainings": every[:-1], "plain": every[-1], "rows": rows}


def inception() -> dict[str, Any]:
    """Train InceptionV3 at 299 pixels from mixed8 up, from random weights, the same way.

    Only the seconds are of use: trained weights are not needed for them.
    """
    none = ("--weights", "none")
    stages = ("--stages", f"none:{EPOCHS},mixed8:{EPOCHS}", "--views", EPOCHS)
    name = f"InceptionV3 299 from mixed8, {EPOCHS} + {EPOCHS} epochs"
    trainings = {name: ("cache", ("--backbone", "inception_v3", *none, *stages))}
    network = ("--backbone", "InceptionV3", "--size", 299, "--from", "mixed8")
    return against_plain("flowers", [0], trainings, (*network, *none, "--epochs", EPOCHS))
