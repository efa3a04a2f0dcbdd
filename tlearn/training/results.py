"""What a training leaves in its run directory: the model, how good it is, pictures."""

import json
from dataclasses import asdict
from typing import Any

from tlearn.csv_files import csv_text
from tlearn.features.engines import choose
from tlearn.runs.classifier import Classifier, save
from tlearn.runs.directory import RunDirectory
from tlearn.runs.metrics import interval, measure_files, with_interval
from tlearn.runs.predictions import HeldOutPrediction, held_out_predictions, predictions_csv
from tlearn.runs.run import PROBLEM_COLUMNS
from tlearn.training.best import ValidationScore
from tlearn.training.loop import METRICS
from tlearn.training.network import Network
from tlearn.training.setup import Setup
from tlearn.training.state import StageResult, TrainingState

HISTORY_COLUMNS = ("stage", "epoch", *METRICS, "learning_rate")


def write_splits(run: RunDirectory, setup: Setup) -> None:
    """Write which image is in which split, what was left out, and the class names."""
    manifest, splits = setup.manifest, setup.splits
    run.write("splits.csv", splits.to_csv())
    problems = ((p.name, p.kind, p.reason) for p in manifest.problems)
    run.write("problems.csv", csv_text(PROBLEM_COLUMNS, problems))
    run.write_json("labels.json", splits.labels)
    counts = {split: len(files) for split, files in splits.items()}
    run.event("scanned", images=len(manifest.files), problems=len(manifest.problems), **counts)


def write_results(
    run: RunDirectory, setup: Setup, network: Network, state: TrainingState
) -> dict[str, Any]:
    """Save the model, measure the saved model, draw what there is to see; return the metrics."""
    if _has_better(run, state):
        setup.progress.say("keeping the model of the previous stop: it scores higher on validation")
    else:
        (run / "metrics.json").unlink(missing_ok=True)  # of another model, if there is one
        size, resize, splits = setup.built.size, setup.config.resize, setup.splits
        with run.replacing("model.keras") as path:
            backbone = setup.config.backbone
            save(network.whole, path, splits.labels, size, resize, backbone, splits.ranges)
    epochs = ([epoch[column] for column in HISTORY_COLUMNS] for epoch in state.history)
    run.write("history.csv", csv_text(HISTORY_COLUMNS, epochs))
    run.event("saved", file="model.keras")
    metrics, classifier, rate = _evaluate(run, setup)
    n = len(setup.splits.validation)
    decided = state.plan
    metrics["stages"] = [_stage_entry(r, n) for r in (decided.probe, *state.results)]
    metrics["stopped"] = state.stopped
    metrics["plan"] = {
        "keeping": decided.costs.keeping,
        "seconds": round(decided.costs.seconds, 1),
        "bytes": decided.costs.bytes,
    }
    metrics["engine"] = asdict(classifier.choice)
    rates = decided.rates | {"prediction": rate}
    metrics["images_per_second"] = {name: round(value, 1) for name, value in rates.items()}
    with setup.clock.part("figures"):
        _draw(run, metrics, state.history)
    return metrics


def _has_better(run: RunDirectory, state: TrainingState) -> bool:
    """Tell whether a run that was stopped again has a better model from the time before."""
    if not (state.stopped and run.usable):
        return False
    before = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["validation"]
    score = ValidationScore(before["accuracy"], before["log_loss"])
    monitor = state.plan.stages[min(state.stage, len(state.plan.stages) - 1)].monitor
    return state.best is None or score.rank(monitor) > state.best.rank(monitor)


def _evaluate(run: RunDirectory, setup: Setup) -> tuple[dict[str, Any], Classifier, float]:
    """Measure the saved model; return figures by split, the model, and images per second."""
    choice = choose(setup.config.engine, setup.config.precision)
    classifier = Classifier.load(run / "model.keras", choice)
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
    run.write("predictions.csv", predictions_csv(predictions))
    return metrics, classifier, len(predictions) / seconds


def _draw(run: RunDirectory, metrics: dict[str, Any], history: list[dict[str, Any]]) -> None:
    """Write the learning curves and the confusions of the split that is held back longest."""
    from tlearn.runs import charts

    split = "test" if "test" in metrics else "validation"
    probe = metrics["stages"][0]
    drawn = {
        "curves": charts.learning_curves(history, probe | {"loss": probe["log_loss"]}),
        "confusion": charts.confusion(
            metrics[split], title=f"{split}: {with_interval(metrics[split])}"
        ),
    }
    for name, chart in drawn.items():
        for kind, content in charts.rendered(chart).items():
            run.write(f"{name}.{kind}", content)


def _stage_entry(result: StageResult, n: int) -> dict[str, Any]:
    return {
        "name": result.name,
        "boundary": result.boundary,
        "epochs": result.epochs,
        "seconds": round(result.seconds, 3),
        "accuracy": result.score.accuracy,
        "accuracy_ci95": interval(result.score.accuracy, n),
        "log_loss": result.score.log_loss,
        "improved": result.improved,
    }
