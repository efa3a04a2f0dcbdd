"""``finetune``: the way from a folder to a run."""

import importlib.metadata
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tlearn import __version__
from tlearn.backbones import Registry, load_registry
from tlearn.config import RunConfig, Stage
from tlearn.csv_files import csv_text
from tlearn.data.dataset import read
from tlearn.data.scan import Manifest, check_folder
from tlearn.data.splits import Splits
from tlearn.errors import TlearnError
from tlearn.features.activation_cache import Cache, default_root
from tlearn.features.built_backbone import BuiltBackbone, load_backbone
from tlearn.features.engines import choose
from tlearn.progress import Progress, console_progress
from tlearn.runs.classifier import Classifier, save
from tlearn.runs.directory import CHECKPOINT, RunDirectory, check_free, free_name
from tlearn.runs.metrics import interval, measure_files, with_interval
from tlearn.runs.predictions import HeldOutPrediction, held_out_predictions, predictions_csv
from tlearn.runs.run import PROBLEM_COLUMNS, Run
from tlearn.settings import make_config
from tlearn.training.session import Trained, train_network
from tlearn.training.stages import Plan, plan, with_preset
from tlearn.training.state import Checkpointer, StageResult

HISTORY_COLUMNS = (
    "stage",
    "epoch",
    "loss",
    "accuracy",
    "val_loss",
    "val_accuracy",
    "learning_rate",
)
PACKAGES = ("tensorflow", "keras", "numpy", "pillow", "scikit-learn")


def finetune(
    data: str | Path,
    out: str | Path | None = None,
    *,
    config: str | Path | RunConfig | None = None,
    quiet: bool = False,
    progress: Progress | None = None,
    callbacks: Sequence[Any] = (),
    **options: Any,
) -> Run:
    """Train a classifier on a folder of images.

    Args:
        data: Class folders, or ``train/``, ``validation/``, ``test/`` with class folders.
        out: The run directory to make; ``runs/<name of the data>`` if not given.
        config: A configuration or a YAML file of one.
        quiet: Show nothing while it works.
        progress: Where to show progress instead of standard error.
        callbacks: Keras callbacks; every stage is a fit of its own to them.
        **options: Fields of :class:`tlearn.RunConfig`; they win over ``config``.

    Returns:
        The finished run.

    Raises:
        TlearnError: If something given cannot be used; nothing is left behind, unless it turns out
            when stages were trained already: then the run stays, marked as unfinished, and
            :func:`tlearn.resume` continues it.

    Example:
        >>> run = tlearn.finetune("photos", backbone="mobilenet_v2")  # doctest: +SKIP
    """
    settings = make_config(config, options=options)
    data = Path(data)
    target = Path(out) if out else free_name(data.resolve().name)
    check_free(target)
    progress = progress or console_progress(quiet)
    return Training(settings, data, target, progress, callbacks).begin()


@dataclass
class Training:
    """One training from data folder to run directory, step by step."""

    config: RunConfig
    data: Path
    target: Path
    progress: Progress
    callbacks: Sequence[Any]
    start: float = field(default_factory=time.monotonic)
    registry: Registry = field(default_factory=load_registry)

    def __post_init__(self) -> None:
        self.checkpointer = Checkpointer(self.target / CHECKPOINT, self.progress.say)

    def begin(self) -> Run:
        """Train from the beginning, into a new run directory."""
        with self.checkpointer.clock.part("total"):
            backbone = self.registry.get(self.config.backbone)
            # What costs little is checked first: reading thousands of images comes after it.
            check_folder(self.data)
            preset = self.registry.preset(self.config.preset)
            self.config = with_preset(self.config, backbone, preset)
            built, plans, manifest, splits = self.read()
            run = RunDirectory.create(self.target)
            try:
                record = yaml.safe_dump(
                    self._record(manifest, built), sort_keys=False, allow_unicode=True
                )
                run.write("run.yaml", record)
                return self.complete(run, built, plans, manifest, splits)
            except BaseException:
                if any((run / name).exists() for name in ("model.keras", CHECKPOINT)):
                    run.leave()
                else:
                    run.discard()
                raise

    def read(self) -> tuple[BuiltBackbone, Sequence[Plan], Manifest, Splits]:
        """Build the backbone, find the stages' cuts, and read the data."""
        config = self.config
        with self.checkpointer.clock.part("backbone"):
            built = load_backbone(
                self.registry.get(config.backbone),
                config.size,
                config.weights or "none",
                config.seed,
            )
            plans = plan(config.stages or (), built)
        with self.checkpointer.clock.part("scan"):
            manifest, splits = read(self.data, config, self.progress)
        return built, plans, manifest, splits

    def complete(
        self,
        run: RunDirectory,
        built: BuiltBackbone,
        plans: Sequence[Plan],
        manifest: Manifest,
        splits: Splits,
    ) -> Run:
        """Train, from the keeper's checkpoint where it found one, and write what comes of it."""
        config, checkpointer = self.config, self.checkpointer
        try:
            self._write_sides(run, manifest, splits)
            with Cache(default_root(), config.disk_budget, self.progress.say) as cache:
                trained = train_network(
                    config,
                    built,
                    plans,
                    splits,
                    cache,
                    self.progress,
                    run.event,
                    self._callbacks(self.registry, run),
                    self.start,
                    checkpointer,
                )
            metrics = self._write_results(run, trained, splits)
            seconds = {
                name: round(value, 3) for name, value in checkpointer.clock.seconds().items()
            }
            run.write_json("metrics.json", metrics | {"seconds": seconds})
        except BaseException as error:
            checkpointer.flush()
            if (run / CHECKPOINT).exists():
                _say_how_to_continue(error, run, self.progress)
            raise
        run.event("stopped" if trained.stopped else "finished", seconds=seconds["total"])
        run.finish(trained.stopped)
        if trained.stopped:
            self.progress.say(f"stopped; to continue: tlearn finetune --resume {run.path}")
        return Run(run.path)

    def _callbacks(self, registry: Registry, run: RunDirectory) -> Callable[[Stage], Sequence[Any]]:
        return lambda stage: [*self.callbacks, *registry.callbacks(stage, run.path)]

    def _record(self, manifest: Manifest, built: BuiltBackbone) -> dict[str, Any]:
        plugin = self.registry.plugin_of(self.config.backbone)
        return {
            "config": self.config.model_dump(mode="json"),
            "data": {
                "path": str(manifest.root.resolve()),
                "digest": manifest.digest,
                "images": manifest.counts,
            },
            "plugin": {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
            },
            "weights_digest": built.digest,
            "versions": {
                "tlearn": __version__,
                "python": platform.python_version(),
                **{name: importlib.metadata.version(name) for name in PACKAGES},
            },
        }

    def _write_sides(self, run: RunDirectory, manifest: Manifest, splits: Splits) -> None:
        run.write("splits.csv", splits.to_csv())
        problems = ((p.name, p.kind, p.reason) for p in manifest.problems)
        run.write("problems.csv", csv_text(PROBLEM_COLUMNS, problems))
        run.write_json("labels.json", splits.labels)
        sides = {side: len(files) for side, files in splits.items()}
        run.event("scanned", images=len(manifest.files), problems=len(manifest.problems), **sides)

    def _write_results(
        self,
        run: RunDirectory,
        trained: Trained,
        splits: Splits,
    ) -> dict[str, Any]:
        """Save the model, measure the saved model, draw what there is to see."""
        if _better_before(run, trained):
            self.progress.say("the model that was saved when it was stopped before is better: kept")
        else:
            (run / "metrics.json").unlink(missing_ok=True)  # of another model, if there is one
            size, resize = trained.network.built.size, self.config.resize
            with run.replacing("model.keras") as path:
                save(trained.network.whole, path, splits.labels, size, resize, self.config.backbone)
        epochs = ([epoch[column] for column in HISTORY_COLUMNS] for epoch in trained.history)
        run.write("history.csv", csv_text(HISTORY_COLUMNS, epochs))
        run.event("saved", file="model.keras")
        classifier = Classifier.load(
            run / "model.keras", choose(self.config.engine, self.config.precision)
        )
        metrics: dict[str, Any] = {}
        predictions: list[HeldOutPrediction] = []
        with self.checkpointer.clock.part("evaluation"):
            for side, files in (("validation", splits.validation), ("test", splits.test)):
                if files:
                    metrics[side], p = measure_files(classifier, files, self.progress)
                    predictions += held_out_predictions(files, side, p, splits.labels)
        run.write("predictions.csv", predictions_csv(predictions))
        counted = len(splits.validation) + len(splits.test)
        rates = trained.rates | {
            "prediction": counted / self.checkpointer.clock.seconds()["evaluation"]
        }
        n = len(splits.validation)
        metrics["stages"] = [_stage_entry(result, n) for result in trained.stages]
        metrics["stopped"] = trained.stopped
        metrics["plan"] = {
            "keeping": trained.costs.keeping,
            "seconds": round(trained.costs.seconds, 1),
            "bytes": trained.costs.bytes,
        }
        metrics["engine"] = asdict(classifier.choice)
        metrics["images_per_second"] = {name: round(rate, 1) for name, rate in rates.items()}
        with self.checkpointer.clock.part("figures"):
            _draw(run, metrics, trained.history)
        return metrics


def _better_before(run: RunDirectory, trained: Trained) -> bool:
    """Tell whether a run that was stopped again has a better model from the time before."""
    if not (trained.stopped and run.usable):
        return False
    before = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["validation"]
    scores = [(s.score.accuracy, s.score.negative_loss) for s in trained.stages if s.kept]
    return not scores or (before["accuracy"], -before["log_loss"]) > max(scores)


def _say_how_to_continue(error: BaseException, run: RunDirectory, progress: Progress) -> None:
    """Let an error end with how the training can be continued."""
    how = f"to continue the training: tlearn finetune --resume {run.path}"
    if isinstance(error, TlearnError):
        error.args = (f"{error}; {how}",)
    elif isinstance(error, OSError) and error.strerror:
        error.strerror += f"; {how}"
    elif isinstance(error, KeyboardInterrupt):
        progress.say(how)
    else:
        error.add_note(how)


def _draw(
    run: RunDirectory,
    metrics: dict[str, Any],
    history: list[dict[str, Any]],
) -> None:
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
        "log_loss": -result.score.negative_loss,
        "kept": result.kept,
    }
