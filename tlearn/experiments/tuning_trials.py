"""How a trial of a search is trained and scored: without a run directory, on cached activations."""

import contextlib
import gc
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.config import RunConfig
from tlearn.data.file_table import FileTable
from tlearn.data.scan import Manifest
from tlearn.data.splits import Splits
from tlearn.errors import BackboneError, ClusterError, DataError, one_line
from tlearn.experiments.candidates import cache_what_fits
from tlearn.experiments.tuning_request import with_own_files
from tlearn.experiments.tuning_results import Trial
from tlearn.features.activation_cache import open_cache
from tlearn.features.activations import Activations
from tlearn.progress import Progress, Silent
from tlearn.runs.measurement import class_numbers
from tlearn.training.callbacks import callbacks_of
from tlearn.training.failures import explain_failure
from tlearn.training.folds import assign_folds
from tlearn.training.network_training import train_network
from tlearn.training.own_step import model_class_of
from tlearn.training.run_training import callbacks_of_stage, filled_in
from tlearn.training.setup import Setup, read_setup
from tlearn.training.state import Unsaved


@contextlib.contextmanager
def releasing_graphs() -> Iterator[None]:
    """Release the variables of the training steps that are traced within.

    TensorFlow keeps the graph of each (seen in 2.21), and that the variables: 45 MB per training.
    """
    before = set(map(id, _graphs()))
    try:
        yield
    finally:
        for graph in _graphs():
            if id(graph) not in before:
                with contextlib.suppress(AttributeError):  # they are no public names
                    graph._function_captures.clear()
                    graph._function_captures._cached_by_val_capture_tuples = []


def _graphs() -> list[Any]:
    """Return the graphs that were traced and are still there."""
    gc.collect()
    return [o for o in gc.get_objects() if type(o).__name__ == "FuncGraph"]


def parts_of(splits: Splits, folds: int, seed: int) -> list[Splits]:
    """Return the splits that a trial is trained and scored on: one, or one for each fold."""
    if not folds:
        return [splits]
    files = FileTable.concatenated([splits.train, splits.validation])
    y = class_numbers(files, splits.labels)
    of_file = assign_folds(y, files.units(), folds, seed)
    parts = []
    for fold in range(folds):
        inside, others = files[of_file == fold], files[of_file != fold]
        if {*others.labels.present} != set(splits.labels) or not inside:
            raise DataError(
                f"too few images for {folds} folds: a class would have none to train on"
            )
        parts.append(replace(splits, train=others, validation=inside))
    return parts


@dataclass(frozen=True)
class Evaluation:
    """Trains a configuration on the images of a search.

    Attributes:
        parts: The splits to train and score it on.
        copies: The folder with the Python files that the configuration names.
        folder: Where plugins' callbacks may write.
        depths: What stages of other trials unfreeze: their activations come from the same pass.
    """

    manifest: Manifest
    parts: Sequence[Splits]
    copies: Path
    folder: Path
    depths: Sequence[int | str]
    progress: Progress

    def __call__(self, config: RunConfig) -> tuple[dict[str, float], int, int]:
        """Return the mean figures on validation, of how many images, and the epochs trained."""
        config = with_own_files(config, self.copies)
        config = filled_in(config)
        model_class = model_class_of(self.copies, config)
        scores, epochs = [], 0
        for splits in self.parts:
            callbacks = callbacks_of(Path(config.callbacks)) if config.callbacks else []
            with (
                releasing_graphs(),
                open_cache(config, self.progress.say) as cache,
            ):
                setup = read_setup(config, (self.manifest, splits), cache, Silent())
                setup = self._with_depths(setup)
                _, state = train_network(
                    setup,
                    callbacks,
                    partial(callbacks_of_stage, self.folder),
                    Unsaved(),
                    model_class=model_class,
                )
            if state.stopped or state.best is None:
                raise KeyboardInterrupt
            scores.append(state.best.by_key())
            epochs += len(state.history)
        sizes = [len(splits.validation) for splits in self.parts]
        means = {
            key: float(np.average([score[key] for score in scores], weights=sizes))
            for key in scores[0]
        }
        return means, sum(sizes), round(epochs / len(self.parts))

    def _with_depths(self, setup: Setup) -> Setup:
        """Return a setup with activations at all depths, cached in one pass if they fit."""
        built, before = setup.built, setup.activations
        boundaries = [plan.boundary for plan in setup.stages if plan.boundary]
        for depth in self.depths:
            with contextlib.suppress(BackboneError):  # another backbone has so many blocks
                if layers := built.layers_to_train(depth):
                    boundaries.append(built.highest_boundary_below(layers))
        activations = Activations(
            built,
            before.rendering,
            boundaries,
            before.cache,
            before.choice,
            Silent(),
            before.cluster,
        )
        if setup.views:
            cache_what_fits(activations, setup.all_views(setup.views))
        return replace(setup, activations=activations)


def train_trial(trial: Trial, config: RunConfig, evaluate: Evaluation) -> Trial:
    """Return a trial with its figures, or with why it failed.

    Raises:
        ClusterError: If the cluster that computes its activations is lost.
    """
    start = time.monotonic()
    try:
        figures, images, epochs = evaluate(config)
    except Exception as error:
        failure = explain_failure(error, config)
        if failure is None or isinstance(error, ClusterError):
            raise
        return replace(trial, error=one_line(failure, 1000), seconds=time.monotonic() - start)
    seconds = round(time.monotonic() - start, 3)
    return replace(trial, figures=figures, images=images, epochs=epochs, seconds=seconds)
