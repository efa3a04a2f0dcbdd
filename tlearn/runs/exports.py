"""``export``: finished runs in other forms, by plugins."""

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tlearn import __version__
from tlearn.atomic import atomic_directory
from tlearn.backbones import Exporter, load_registry
from tlearn.config import Augmentation
from tlearn.errors import ConfigError, PluginError, TlearnError, one_line
from tlearn.progress import Progress, Silent
from tlearn.runs.directory import check_free
from tlearn.runs.parity import Parity, check_parity
from tlearn.runs.predict_script import has_augmented_views, predict_script
from tlearn.runs.run import Run
from tlearn.runs.stored_runs import upload_changes


def export(
    run: Run | str | Path,
    form: str,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write the model of a run in another format, and compare it with the run.

    Args:
        run: The run, or its directory.
        form: The name of a format; ``tlearn plugins`` lists them.
        out: The folder; ``export/FORMAT`` in the run directory if not given. It must not exist.
        progress: Where to show progress.

    Returns:
        The folder that was written, whole: the model, ``predict.py``, and ``metadata.json`` with
        the classes, how photos become pixels, and how the model compares with the run.

    Raises:
        TlearnError: If there is no such run or format, what it needs is not installed, the path is
            taken, the exporter fails, or its model predicts other classes than the run; nothing is
            written then.

    Example:
        >>> tlearn.export("runs/photos", "openvino")  # doctest: +SKIP
    """
    exporter = load_registry().exporter(form)
    run = run if isinstance(run, Run) else Run(run)
    path = Path(out) if out else run.path / "export" / form
    check_free(path)
    missing = [name for name in exporter.modules if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the format {form} needs {', '.join(missing)}, which is not installed; run "
            f"pip install '{exporter.install}'"
        )
    progress = progress or Silent()
    _ = run.model  # read now: where a function is traced, its weights would stay random
    try:
        with atomic_directory(path) as folder:
            exporter.export(run, folder)
            _describe(run, exporter, folder, progress)
    except TlearnError:
        raise
    # A plugin's exporter may raise anything.
    except Exception as error:
        raise PluginError(
            f"the export to {form} failed ({type(error).__name__}: {one_line(error)}); nothing was "
            f"written"
        ) from error
    upload_changes(run.path)
    return path


def _describe(run: Run, exporter: Exporter, folder: Path, progress: Progress) -> None:
    """Write ``metadata.json`` and ``predict.py`` beside a model, and compare it with its run."""
    classifier = run.classifier
    metadata: dict[str, Any] = {
        "format": exporter.name,
        "labels": classifier.labels,
        "input": "RGB pixels from 0 to 255, (n, size, size, 3)",
        "output": "probabilities, (n, classes)",
        "size": classifier.size,
        "resize": classifier.resize,
        "views": classifier.tta,
        "augment": Augmentation().model_dump() if has_augmented_views(classifier.tta) else None,
        "ranges": dict(zip(("integer", "float"), classifier.ranges, strict=True)),
        "backbone": classifier.backbone,
        "modules": classifier.modules,
        "run": run.path.resolve().name,
        "tlearn": __version__,
        "parity": None,
    }
    _write_metadata(folder, metadata)
    if exporter.load is None:
        progress.say(f"{exporter.name} has no loader: it is not compared with the run")
        return
    script = predict_script(exporter.name, exporter.load, classifier.tta)
    (folder / "predict.py").write_text(script, encoding="utf-8")
    parity = check_parity(run, exporter, folder, progress)
    _write_metadata(folder, metadata | {"parity": asdict(parity)})


def _write_metadata(folder: Path, metadata: dict[str, Any]) -> None:
    text = json.dumps(metadata, indent=2, ensure_ascii=False)
    (folder / "metadata.json").write_text(text + "\n", encoding="utf-8")


def parity_of(folder: Path) -> Parity | None:
    """Return how what was exported into a folder compares with its run, if it was compared."""
    parity = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))["parity"]
    return Parity(**parity) if parity else None
