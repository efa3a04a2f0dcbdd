"""``finetune`` and ``demo``: the way from a folder to a run."""

import contextlib
import csv
import importlib.metadata
import io
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tlearn import __version__
from tlearn.backbones import Registry, load_registry
from tlearn.config import RunConfig, Stage
from tlearn.data.reading import read
from tlearn.data.sample import draw_sample
from tlearn.data.scan import Manifest, Problem, check_folder
from tlearn.data.splits import Splits
from tlearn.errors import BackboneError
from tlearn.frozen.cache import Cache, default_root
from tlearn.frozen.engines import choose
from tlearn.frozen.trunk import Trunk, load_trunk
from tlearn.progress import Progress, console_progress
from tlearn.results import figures
from tlearn.results.classifier import Classifier, save
from tlearn.results.metrics import interval, measure_files
from tlearn.results.run import Run
from tlearn.runs.directory import RunDirectory, check_free, free_name
from tlearn.settings import make_config
from tlearn.training.loop import StageResult
from tlearn.training.session import Trained, train_network
from tlearn.training.stages import plan, with_policy

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
            after the model was saved: then the run stays, marked as unfinished.

    Example:
        >>> run = tlearn.finetune("photos", backbone="mobilenet_v2")  # doctest: +SKIP
    """
    settings = make_config(config, options=options)
    data = Path(data)
    target = Path(out) if out else free_name(data.resolve().name)
    check_free(target)
    return _Job(settings, data, target, progress or console_progress(quiet), callbacks).run()


@dataclass
class _Job:
    """One training from data folder to run directory, step by step."""

    config: RunConfig
    data: Path
    target: Path
    progress: Progress
    callbacks: Sequence[Any]
    start: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self) -> Run:
        with self._timed("total"):
            registry = load_registry()
            backbone = registry.get(self.config.backbone)
            # What costs little is checked first: reading thousands of images comes after it.
            check_folder(self.data)
            config = self.config = with_policy(
                self.config, backbone, registry.policy(self.config.preset)
            )
            with self._timed("backbone"):
                trunk = load_trunk(backbone, config.size, config.weights or "none", config.seed)
                plans = plan(config.stages or (), trunk)
            with self._timed("scan"):
                manifest, splits = read(self.data, config, self.progress)
            run = RunDirectory.create(self.target)
            try:
                self._write_inputs(run, manifest, splits, trunk, registry)
                budget = None if config.disk_budget is None else int(config.disk_budget)
                with Cache(default_root(), budget, self.progress.say) as cache:
                    trained = train_network(
                        config, trunk, plans, splits, cache, self.progress, run.event,
                        self._callbacks(registry, run), self.start,
                    )  # fmt: skip
                metrics = self._write_results(run, trained, splits)
            except BaseException:
                if not (run / "model.keras").exists():
                    run.discard()
                raise
        metrics["seconds"] = {name: round(value, 3) for name, value in self.seconds.items()}
        run.write_json("metrics.json", metrics)
        kind = "stopped" if trained.stopped else "finished"
        run.event(kind, seconds=metrics["seconds"]["total"])
        run.finish()
        return Run(run.path)

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start

    def _callbacks(self, registry: Registry, run: RunDirectory) -> Callable[[Stage], Sequence[Any]]:
        return lambda stage: [*self.callbacks, *registry.callbacks(stage, run.path)]

    def _write_inputs(
        self,
        run: RunDirectory,
        manifest: Manifest,
        splits: Splits,
        trunk: Trunk,
        registry: Registry,
    ) -> None:
        plugin = registry.plugin_of(self.config.backbone)
        record = {
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
            "weights_digest": trunk.digest,
            "versions": {
                "tlearn": __version__,
                "python": platform.python_version(),
                **{name: importlib.metadata.version(name) for name in PACKAGES},
            },
        }
        run.write("run.yaml", yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
        run.write("splits.csv", splits.to_csv())
        run.write("problems.csv", _problems_csv(manifest.problems))
        run.write("labels.txt", "".join(f"{label}\n" for label in splits.labels))
        sides = {side: len(files) for side, files in splits.items()}
        run.event("scanned", images=len(manifest.files), problems=len(manifest.problems), **sides)

    def _write_results(
        self,
        run: RunDirectory,
        trained: Trained,
        splits: Splits,
    ) -> dict[str, Any]:
        """Save the model, measure the saved model, draw what there is to see."""
        self.seconds |= trained.seconds
        size, resize = trained.network.trunk.size, self.config.resize
        with run.replacing("model.keras") as path:
            save(trained.network.whole, path, splits.labels, size, resize, self.config.backbone)
        run.write("history.csv", _history_csv(trained.history))
        run.event("saved", file="model.keras")
        classifier = Classifier.load(
            run / "model.keras", choose(self.config.engine, self.config.precision)
        )
        metrics: dict[str, Any] = {}
        with self._timed("evaluation"):
            metrics["validation"] = measure_files(classifier, splits.validation, self.progress)
            if splits.test:
                metrics["test"] = measure_files(classifier, splits.test, self.progress)
        counted = len(splits.validation) + len(splits.test)
        rates = trained.rates | {"prediction": counted / self.seconds["evaluation"]}
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
        with self._timed("figures"):
            _draw(run, metrics, trained.history, splits.labels)
        return metrics


def _draw(
    run: RunDirectory,
    metrics: dict[str, Any],
    history: list[dict[str, Any]],
    labels: Sequence[str],
) -> None:
    """Write the learning curves and the confusion matrix of the side held back longest."""
    side = "test" if "test" in metrics else "validation"
    low, high = metrics[side]["accuracy_ci95"]
    title = f"{side}: {metrics[side]['accuracy']:.1%} ({low:.1%} to {high:.1%})"
    levels = {
        name: {"accuracy": values["accuracy"], "loss": values["log_loss"]}
        for name, values in (("probe", metrics["stages"][0]), ("kept", metrics["validation"]))
    }
    drawn = {
        "curves": figures.learning_curves(history, levels),
        "confusion": figures.confusion(metrics[side]["confusion"], labels, title),
    }
    for name, figure in drawn.items():
        for kind, content in figures.rendered(figure).items():
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


def _problems_csv(problems: Sequence[Problem]) -> str:
    rows = [[p.name, p.kind, p.reason] for p in problems]
    return _csv(["file", "kind", "reason"], rows)


def _history_csv(history: Sequence[dict[str, Any]]) -> str:
    header = ["stage", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"]
    return _csv(header, [[row[name] for name in header] for row in history])


def _csv(header: list[str], rows: list[list[Any]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    return out.getvalue()


def demo(
    out: str | Path | None = None, *, quiet: bool = False, progress: Progress | None = None
) -> Run:
    """Draw a small set of pictures and train on it.

    Starts from ImageNet weights if they are at hand or can be fetched, else from random ones.

    Args:
        out: Folder to make, for ``photos`` and ``run``; ``tlearn-demo`` if not given.
        quiet: Show nothing while it works.
        progress: Where to show progress instead of standard error.

    Raises:
        RunError: If the folder exists.
    """
    progress = progress or console_progress(quiet)
    folder = Path(out) if out else free_name("tlearn-demo", Path())
    check_free(folder)
    progress.say(f"drawing pictures into {folder / 'photos'}")
    photos = draw_sample(folder / "photos")
    try:
        return finetune(photos, folder / "run", progress=progress)
    except BackboneError as error:
        progress.say(f"starting from random weights, so expect little: {error}")
        return finetune(photos, folder / "run", weights="none", progress=progress)
