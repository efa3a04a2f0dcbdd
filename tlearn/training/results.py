"""What a training writes into its run directory: its record, the model, metrics, charts."""

import contextlib
import importlib.metadata
import json
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tlearn import __version__
from tlearn.backbones import load_registry
from tlearn.csv_files import csv_text
from tlearn.data.file_table import FileTable
from tlearn.data.splits import Splits
from tlearn.errors import DataError, RunError
from tlearn.features.activations import BATCH
from tlearn.features.built_backbone import FEATURES
from tlearn.features.engines import choose
from tlearn.features.image_views import ImageViews
from tlearn.features.model_features import with_features
from tlearn.keras_import import keras
from tlearn.metrics import MONITORS
from tlearn.progress import Progress
from tlearn.python_files import with_copies
from tlearn.reports.page import report_of_training
from tlearn.runs import charts
from tlearn.runs.class_figures import class_order
from tlearn.runs.classifier import Classifier, ModelOutputs, save
from tlearn.runs.confusion_chart import confusion
from tlearn.runs.continued_run import class_changes, gain
from tlearn.runs.directory import Request, RunDirectory
from tlearn.runs.measurement import (
    class_numbers,
    interval,
    measure_files,
    measured_split,
    outputs_of,
    with_interval,
)
from tlearn.runs.outputs import Outputs
from tlearn.runs.predictions import HeldOutPrediction, held_out_csv, held_out_predictions
from tlearn.runs.run import Run
from tlearn.runs.run_records import PROBLEM_COLUMNS
from tlearn.runs.unknown import UnknownDetector
from tlearn.training.network import Network
from tlearn.training.probe import sample
from tlearn.training.score import ValidationScore, is_better
from tlearn.training.setup import Setup
from tlearn.training.stage_fit import EPOCH_COLUMNS
from tlearn.training.state import StageResult, TrainingState
from tlearn.training.stopwatch import Stopwatch
from tlearn.training.tensorboard_log import write_log

HISTORY_COLUMNS = ("stage", "epoch", *EPOCH_COLUMNS)

MOST_HELD_OUT = 10_000  # images of a held-out split whose outputs are written, at most
MOST_TRAINING = 5000  # training images whose outputs are written, at most
PACKAGES = ("tensorflow", "keras", "openvino", "numpy", "scipy", "pillow")


def check_unchanged(run: RunDirectory, request: Request, setup: Setup) -> None:
    """Refuse to resume with other images or weights than a run began with.

    Raises:
        DataError: If the images have changed.
        RunError: If the weights have.
    """
    file = run / "splits.csv"
    same_splits = not file.exists() or _holds(file, setup.splits.csv_parts())
    if setup.manifest.digest != request.digest or not same_splits:
        raise DataError(
            f"the images in {str(request.data)!r} have changed since the run {str(run.path)!r} "
            f"began; train anew with 'tlearn finetune' and another --out"
        )
    if setup.built.digest != request.weights_digest:
        raise RunError(
            f"the weights {setup.config.weights!r} of {setup.config.backbone} are not those that "
            f"the run {str(run.path)!r} began with; restore those, or train anew with 'tlearn "
            f"finetune' and another --out"
        )


def _holds(path: Path, texts: Iterable[str]) -> bool:
    """Return whether a file consists of some texts."""
    with path.open("rb") as file:
        return all(file.read(len(part)) == part for part in map(str.encode, texts)) and (
            not file.read(1)
        )


def write_record(run: RunDirectory, setup: Setup, request: Request) -> None:
    """Write what reproduces the training: configuration, versions, splits, class names."""
    manifest, splits = setup.manifest, setup.splits
    if not request.began:
        run.write_record(_record(setup))
    run.write("splits.csv", splits.csv_parts())
    if setup.config.from_run:
        setup.progress.say(class_changes(Run(setup.config.from_run), splits.labels))
    problems = ((p.name, p.kind, p.reason) for p in manifest.problems)
    run.write("problems.csv", csv_text(PROBLEM_COLUMNS, problems))
    run.write_json("labels.json", splits.labels)
    counts = {split: len(files) for split, files in splits.items()}
    run.event("scanned", images=len(manifest.files), problems=len(manifest.problems), **counts)


def _record(setup: Setup) -> dict[str, Any]:
    config, manifest = setup.config, setup.manifest
    path, folder = str(manifest.data.resolve()), str(manifest.folder.resolve())
    plugin = load_registry().plugin_of(config.backbone)
    return {
        "config": with_copies(config.model_dump(mode="json"), Path()),
        "data": {
            "path": path,
            **({"folder": folder} if folder != path else {}),
            "digest": manifest.digest,
            "images": manifest.counts,
        },
        "plugin": {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
        },
        "weights_digest": setup.built.digest,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions of tlearn, Python, and the packages that decide figures."""
    found = {"tlearn": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def write_results(run: RunDirectory, setup: Setup, network: Network, state: TrainingState) -> None:
    """Save the model, measure the saved model, draw the charts."""
    saved, shares, better = None, state.shares, _better_before(run, state)
    if better is not None:
        shares = {number: stage["share"] for number, stage in enumerate(better["stages"])}
        setup.progress.say("keeping the model of the previous stop: it scores higher on validation")
    else:
        (run / "metrics.json").unlink(missing_ok=True)  # of another model, if there is one
        size, resize, splits = setup.built.size, setup.config.resize, setup.splits
        with run.replacing("model.keras") as path:
            backbone = setup.config.backbone
            labels, ranges, tta = splits.labels, splits.ranges, setup.config.tta
            save(network.classifier, path, labels, size, resize, backbone, ranges, tta)
        # What Keras makes of its own layers is known; layers of others are put to the test.
        others = setup.built.backbone.modules or setup.config.head.module
        saved = None if others else network.classifier
    epochs = ([epoch[column] for column in HISTORY_COLUMNS] for epoch in state.history)
    run.write("history.csv", csv_text(HISTORY_COLUMNS, epochs))
    run.event("saved", file="model.keras")
    choice = choose(setup.config.engine, setup.config.precision)
    classifier = Classifier.load(run / "model.keras", choice, saved)
    cached = None
    if not (state.results or setup.config.head.is_random or classifier.tta > 1):
        cached = partial(_outputs_of_cached, setup, network)
    metrics = measure_saved(run, setup.splits, classifier, setup.progress, setup.clock, cached)
    n = len(setup.splits.validation)
    plan = state.plan
    metrics["stages"] = [
        stage_entry(result, n, shares.get(number, 0.0))
        for number, result in enumerate((plan.probe, *state.results))
    ]
    metrics["stopped"] = state.stopped
    metrics["calibration"] = (better or {}).get("calibration", state.calibration)
    metrics["plan"] = asdict(plan.costs) | {"seconds": round(plan.costs.seconds, 1)}
    rates = {name: round(value, 1) for name, value in plan.rates.items()}
    metrics["images_per_second"] = rates | metrics["images_per_second"]
    probe = metrics["stages"][0]
    curves = (
        charts.learning_curves(state.history, probe | {"loss": probe["log_loss"]})
        if state.history
        else {}
    )
    write_metrics(run, metrics, curves, setup.progress, setup.clock)
    report_of_training(Run(run.path), setup.progress)
    write_log(Run(run.path), setup, network)
    if setup.config.from_run:
        with contextlib.suppress(RunError):  # it may be gone by now
            setup.progress.say(gain(Run(setup.config.from_run), Run(run.path)))


def _outputs_of_cached(setup: Setup, network: Network, files: FileTable) -> ModelOutputs:
    """Return what a head gives for the cached features of a backbone that was not trained."""
    head = network.suffix(None)
    model = with_features(keras.Model(head.input, keras.layers.Softmax()(head.output)))
    batches = ImageViews(files).batches(BATCH)
    parts = [
        model.predict_on_batch(arrays[FEATURES][:, network.columns])
        for arrays in setup.activations.batches(batches, [FEATURES])
    ]
    return ModelOutputs(*map(np.concatenate, zip(*parts, strict=True)))


def _better_before(run: RunDirectory, state: TrainingState) -> dict[str, Any] | None:
    """Return the metrics of a run that was stopped before if its model of then is better."""
    if not (state.stopped and run.usable):
        return None
    metrics: dict[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    before = metrics["validation"]
    figures = {name: before.get(monitor.key) for name, monitor in MONITORS.items()}
    if None in figures.values():  # not finite, or of an older run
        return None
    score = ValidationScore(figures)
    monitor = state.plan.stages[min(state.stage_index, len(state.plan.stages) - 1)].monitor
    return metrics if is_better(score, state.best, monitor) else None


def measure_saved(
    run: RunDirectory,
    splits: Splits,
    classifier: Classifier,
    progress: Progress,
    clock: Stopwatch,
    cached: Callable[[FileTable], ModelOutputs] | None = None,
) -> dict[str, Any]:
    """Write what a saved model gives for the images that were held out, and for training images.

    For training images, ``cached`` gives it without computing all of the network again, where that
    is possible.

    Returns:
        Its figures by split, the engine, and images per second, as in ``metrics.json``.
    """
    metrics: dict[str, Any] = {}
    predictions: list[HeldOutPrediction] = []
    parts: list[tuple[str, FileTable, ModelOutputs]] = []
    with clock.part("loading the model"):
        classifier.make_ready()
    before = clock.seconds().get("evaluation", 0.0)
    with clock.part("evaluation"):
        for split, files in (("validation", splits.validation), ("test", splits.test)):
            if files:
                rows = sample(class_numbers(files, splits.labels), MOST_HELD_OUT, seed=0)
                metrics[split], outputs = measure_files(classifier, files, progress, rows)
                written = ModelOutputs(outputs.probabilities[rows], outputs.features)
                parts.append((split, files[rows], written))
                predictions += held_out_predictions(
                    files, split, outputs.probabilities, splits.labels
                )
    seconds = clock.seconds()["evaluation"] - before
    run.write("predictions.csv", held_out_csv(predictions))
    with clock.part("features of training images"):
        positions = sample(class_numbers(splits.train, splits.labels), MOST_TRAINING, seed=0)
        sampled = splits.train[positions]
        outputs = cached(sampled) if cached else outputs_of(classifier, sampled, progress)
        parts.append(("train", sampled, outputs))
        every = Outputs.of(parts)
        run.write("outputs.npz", every.to_bytes())
        metrics["unknown"] = UnknownDetector(every).record(every)
    return metrics | {
        "engine": asdict(classifier.choice),
        "images_per_second": {"prediction": round(len(predictions) / seconds, 1)},
    }


def write_metrics(
    run: RunDirectory,
    metrics: dict[str, Any],
    curves: Mapping[str, charts.Chart],
    progress: Progress,
    clock: Stopwatch,
) -> None:
    """Say how good the model is, draw the curves and the confusions, and write the figures last."""
    split = measured_split(metrics)  # the one that is held back longest
    accuracy = with_interval(metrics[split]["accuracy"], metrics[split]["n"])
    result = f"{split}: {accuracy}"
    progress.say(result)  # before the charts, which take a while
    with clock.part("figures"):
        labels = list(metrics[split]["per_class"])
        order = [labels[k] for k in class_order(metrics[split])]
        matrix = confusion(metrics[split], title=result, order=order)
        for name, chart in {**curves, "confusion": matrix}.items():
            run.write_figure(name, charts.render(chart))
    seconds = {name: round(value, 3) for name, value in clock.seconds().items()}
    run.write_json("metrics.json", metrics | {"seconds": seconds})


def stage_entry(result: StageResult, n: int, share: float) -> dict[str, Any]:
    """Return what ``metrics.json`` has of a stage, over ``n`` validation images."""
    return {
        "name": result.name,
        "boundary": result.boundary,
        "epochs": result.epochs,
        "seconds": round(result.seconds, 3),
        **result.score.by_key(),
        "accuracy_ci95": interval(result.score.accuracy, n),
        "share": round(share, 3),
    }
