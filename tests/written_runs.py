"""Runs that were written and not trained, as a training would leave them; no model is in them."""

from pathlib import Path

import numpy as np
from PIL import Image

from tlearn.csv_files import csv_text
from tlearn.data.file_table import FileTable, ImageFile
from tlearn.data.splits import Splits
from tlearn.runs import charts
from tlearn.runs.directory import RunDirectory
from tlearn.runs.measurement import interval, measure
from tlearn.runs.outputs import Outputs
from tlearn.runs.predictions import held_out_csv, held_out_predictions
from tlearn.runs.run import Run
from tlearn.runs.run_records import PROBLEM_COLUMNS

HISTORY = ("stage", "epoch", "accuracy", "loss", "val_accuracy", "val_loss")


def written_run(folder, labels, numbers, *, skill=1.5, side=40, problems=(), seed=0):
    """Write a run of a classifier that is right by chance, and its photos, noise of one colour.

    Args:
        folder: Where ``run`` and ``photos`` go.
        labels: The classes.
        numbers: How many validation photos each has.
        skill: How much likelier than another the true class is.
        side: Of the photos in pixels; none are written where it is 0.
        problems: Rows of ``problems.csv``.
        seed: Of photos and probabilities.
    """
    rng = np.random.default_rng(seed)
    photos, run = Path(folder, "photos"), RunDirectory(Path(folder, "run"))
    run.path.mkdir(parents=True)
    files = {"validation": [], "train": []}
    for k, (label, number) in enumerate(zip(labels, numbers, strict=True)):
        (photos / f"c{k}").mkdir(parents=True, exist_ok=True)
        for n in range(number + 1):
            split, name = "validation" if n < number else "train", f"c{k}/{n}.jpg"
            if side:
                noise = rng.integers(0, 40, (side, side, 3)) + rng.integers(0, 215, 3)
                Image.fromarray(noise.astype(np.uint8)).save(photos / name, quality=80)
            files[split].append(ImageFile(photos / name, name, label, f"{k:016x}{n:016x}"))
    tables = {split: FileTable.of(photos, its) for split, its in files.items()}
    splits = Splits(tuple(labels), tables["train"], tables["validation"], FileTable.of(photos))
    y = np.repeat(np.arange(len(labels)), numbers)
    logits = rng.normal(size=(len(y), len(labels)))
    logits[np.arange(len(y)), y] += skill
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    figures = measure(y, p, labels)
    (run.path / "model.keras").touch()
    run.write("splits.csv", splits.csv_parts())
    run.write(
        "predictions.csv",
        held_out_csv(held_out_predictions(splits.validation, "validation", p, labels)),
    )
    outputs = Outputs(
        np.array([file.name for file in splits.validation]),
        np.array(["validation"] * len(y)),
        np.array([file.label for file in splits.validation]),
        p.astype(np.float32),
        (p @ rng.normal(size=(len(labels), 16))).astype(np.float32)[:, None],
    )
    run.write("outputs.npz", outputs.to_bytes())
    run.write("problems.csv", csv_text(PROBLEM_COLUMNS, problems))
    epochs = [("top", k, 0.5, 1.0, 0.5, 1.0) for k in (1, 2)]
    run.write("history.csv", csv_text(HISTORY, epochs))
    run.write_json("labels.json", labels)
    stage = {
        "boundary": "",
        "seconds": 1.0,
        "accuracy": figures["accuracy"],
        "accuracy_ci95": interval(figures["accuracy"], len(y)),
        "log_loss": 1.0,
    }
    probe = stage | {"name": "probe", "epochs": 0, "share": 0.0}
    metrics = {
        "validation": figures,
        "stages": [probe, stage | {"name": "top", "epochs": 2, "share": 1.0}],
        "stopped": False,
        "seconds": {"scan": 0.2, "activations": 3.0, "total": 4.0},
        "images_per_second": {"prediction": 500.0},
    }
    run.write_json("metrics.json", metrics)
    config = {"backbone": "toy", "weights": "none", "size": 32, "resize": "squash", "stages": []}
    counts = {label: number + 1 for label, number in zip(labels, numbers, strict=True)}
    data = {"path": str(photos), "digest": "0" * 32, "images": counts}
    run.write_record({"config": config, "data": data, "versions": {"tlearn": "0.1.0"}})
    rows = [dict(zip(HISTORY, epoch, strict=True)) for epoch in epochs]
    for name, chart in charts.learning_curves(rows, {"accuracy": 0.4, "loss": 1.2}).items():
        run.write_figure(name, charts.render(chart))
    return Run(run.path)
