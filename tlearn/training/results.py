"""What a training writes into its run directory: its record, the model, metrics, charts."""

import contextlib
import importlib.metadata
import json
import platform
from dataclasses import asdict
from typing import Any

from tlearn import __version__
from tlearn.backbones import load_registry
from tlearn.csv_files import csv_text
from tlearn.errors import DataError, RunError
from tlearn.features.engines import choose
from tlearn.metrics import MONITORS
from tlearn.runs.classifier import Classifier, save
from tlearn.runs.continued_run import class_changes, gain
from tlearn.runs.directory import Request, RunDirectory
from tlearn.runs.measurement import interval, measure_files, measured_split, with_interval
from tlearn.runs.predictions import HeldOutPrediction, held_out_csv, held_out_predictions
from tlearn.runs.run import PROBLEM_COLUMNS, Run
from tlearn.training.loop import EPOCH_COLUMNS
from tlearn.training.network import Network
from tlearn.training.score import ValidationScore, is_better
from tlearn.training.setup import Setup
from tlearn.training.state import StageResult, TrainingState
from tlearn.training.tensorboard_log import write_log

HISTORY_COLUMNS = ("stage", "epoch", *EPOCH_COLUMNS, "learning_rate")


PACKAGES = ("tensorflow", "keras", "openvino", "numpy", "scipy", "pillow")


def check_unchanged(run: RunDirectory, request: Request, setup: Setup) -> None:
    """Refuse to resume with other images or weights than a run began with.

    Raises:
        DataError: If the images have changed.
        RunError: If the weights have.
    """
    file = run / "splits.csv"
    same_splits = not file.exists() or file.read_bytes() == setup.splits.to_csv().encode()
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


def write_record(run: RunDirectory, setup: Setup, request: Request) -> None:
    """Write what reproduces the training: configuration, versions, splits, class names."""
    manifest, splits = setup.manifest, setup.splits
    if not request.began:
        run.write_record(_record(setup))
    run.write("splits.csv", splits.to_csv())
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
    versions = {"tlearn": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "config": config.model_dump(mode="json"),
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
        "versions": versions,
    }


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
        saved = None if setup.built.backbone.modules else network.classifier
    epochs = ([epoch[column] for column in HISTORY_COLUMNS] for epoch in state.history)
    run.write("history.csv", csv_text(HISTORY_COLUMNS, epochs))
    run.event("saved", file="model.keras")
    metrics, classifier, rate = _evaluate(run, setup, saved)
    n = len(setup.splits.validation)
    plan = state.plan
    metrics["stages"] = [
        _stage_entry(result, n) | {"share": round(shares.get(number, 0.0), 3)}
        for number, result in enumerate((plan.probe, *state.results))
    ]
    metrics["stopped"] = state.stopped
    metrics["plan"] = asdict(plan.costs) | {"seconds": round(plan.costs.seconds, 1)}
    metrics["engine"] = asdict(classifier.choice)
    rates = plan.rates | {"prediction": rate}
    metrics["images_per_second"] = {name: round(value, 1) for name, value in rates.items()}
    split = measured_split(metrics)
    accuracy = with_interval(metrics[split]["accuracy"], metrics[split]["n"])
    result = f"{split}: {accuracy}"
    setup.progress.say(result)  # before the charts, which take a while
    with setup.clock.part("figures"):
        _draw(run, metrics, state.history, result)
    seconds = {name: round(value, 3) for name, value in setup.clock.seconds().items()}
    run.write_json("metrics.json", metrics | {"seconds": seconds})
    write_log(Run(run.path), setup, network)
    if setup.config.from_run:
        with contextlib.suppress(RunError):  # it may be gone by now
            setup.progress.say(gain(Run(setup.config.from_run), Run(run.path)))


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


def _evaluate(
    run: RunDirectory, setup: Setup, saved: Any
) -> tuple[dict[str, Any], Classifier, float]:
    """Measure the saved model; return figures by split, the model, and images per second.

    Args:
        run: The run directory.
        setup: What the training worked with.
        saved: The model that is in the file, or ``None`` to have it loaded from there.
    """
    choice = choose(setup.config.engine, setup.config.precision)
    classifier = Classifier.load(run / "model.keras", choice, saved)
    splits = {"validation": setup.splits.validation, "test": setup.splits.test}
    metrics: dict[str, Any] = {}
    predictions: list[HeldOutPrediction] = []
    with setup.clock.part("loading the model"):
        classifier.make_ready()
    before = setup.clock.seconds().get("evaluation", 0.0)
    with setup.clock.part("evaluation"):
        for split, files in splits.items():
            if files:
                metrics[split], p = measure_files(classifier, files, setup.progress)
                predictions += held_out_predictions(files, split, p, setup.splits.labels)
    seconds = setup.clock.seconds()["evaluation"] - before
    run.write("predictions.csv", held_out_csv(predictions))
    return metrics, classifier, len(predictions) / seconds


def _draw(
    run: RunDirectory, metrics: dict[str, Any], history: list[dict[str, Any]], result: str
) -> None:
    """Write the learning curves and the confusions of the split that is held back longest."""
    from tlearn.runs import charts

    probe = metrics["stages"][0]
    figures = {
        "curves": charts.learning_curves(history, probe | {"loss": probe["log_loss"]}),
        "confusion": charts.confusion(metrics[measured_split(metrics)], title=result),
    }
    for name, chart in figures.items():
        for kind, content in charts.render(chart).items():
            run.write(f"{name}.{kind}", content)


def _stage_entry(result: StageResult, n: int) -> dict[str, Any]:
    return {
        "name": result.name,
        "boundary": result.boundary,
        "epochs": result.epochs,
        "seconds": round(result.seconds, 3),
        **result.score.by_key(),
        "accuracy_ci95": interval(result.score.accuracy, n),
    }
