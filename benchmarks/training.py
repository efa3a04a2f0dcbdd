"""Whole trainings against plain Keras: processes from a cold start, on the same splits."""

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import SHARED, WEIGHTS, finetune, median, plain_keras


def against_plain(name: str, seeds: list[int]) -> dict[str, Any]:
    """Train with defaults, again with a warm cache, with the quick preset, and plain Keras.

    Accuracy is on the test split where a set has one, else on validation, where it is slightly
    optimistic for tlearn, because it was used for model selection.
    """
    data = SHARED / "data" / name
    rows = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            row: dict[str, Any] = {"seed": seed}
            for kind, preset, cache in (
                ("quick", "quick", "of quick"),
                ("default", "balanced", "of default"),
                ("warm", "balanced", "of default"),
            ):
                options = ("--weights", WEIGHTS, "--seed", seed, "--preset", preset)
                done = finetune(data, folder / kind, folder / cache, *options)
                metrics = json.loads(done.output)
                split = "test" if "test" in metrics else "validation"
                row[f"{kind}_seconds"] = done.seconds
                row[f"{kind}_accuracy"] = metrics[split]["accuracy"]
                row[f"{kind}_planned"] = metrics["plan"]["seconds"] / metrics["seconds"]["total"]
            splits = folder / "default" / "splits.csv"
            done = plain_keras(data, splits, "--weights", WEIGHTS, "--seed", seed)
            row["plain_seconds"] = done.seconds
            row["plain_accuracy"] = json.loads(done.output.splitlines()[-1])[split]
        rows.append(row)
        print(f"  {name} seed {seed}: {numbers(row)}", flush=True)
    ratios = {
        kind: statistics.median(row["plain_seconds"] / row[f"{kind}_seconds"] for row in rows)
        for kind in ("quick", "default", "warm")
    }
    means = {
        kind: statistics.mean(row[f"{kind}_accuracy"] for row in rows)
        for kind in ("quick", "default", "plain")
    }
    seconds = {
        kind: median(rows, f"{kind}_seconds") for kind in ("quick", "default", "warm", "plain")
    }
    return {
        "set": name,
        "split": split,
        "ratio": ratios,
        "accuracy": means,
        "seconds": seconds,
        "rows": rows,
    }


def inception(epochs: int = 2) -> dict[str, Any]:
    """Train InceptionV3 at 299 pixels from mixed8 up, from random weights, the same way.

    Only the seconds are of use: trained weights are not needed for them.
    """
    data = SHARED / "data/flowers"
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        none = ("--weights", "none")
        stages = ("--stages", f"none:{epochs},mixed8:{epochs}", "--views", epochs)
        cache = Path(place) / "cache"
        done = finetune(data, run, cache, "--backbone", "inception_v3", *none, *stages)
        network = ("--backbone", "InceptionV3", "--size", 299, "--from", "mixed8")
        plain = plain_keras(data, run / "splits.csv", *network, *none, "--epochs", epochs)
        accuracy = json.loads(done.output)["validation"]["accuracy"]
    return {
        "epochs": epochs,
        "seconds": done.seconds,
        "plain_seconds": plain.seconds,
        "ratio": plain.seconds / done.seconds,
        "accuracy": accuracy,
        "plain_accuracy": json.loads(plain.output.splitlines()[-1])["validation"],
    }


def numbers(row: dict[str, Any]) -> str:
    """Return a row's numbers as text."""
    return ", ".join(f"{key} {value:.4g}" for key, value in row.items() if key != "seed")
