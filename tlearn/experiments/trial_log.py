"""The trials of a search for TensorBoard's HParams: one folder each."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from tlearn.experiments.tuning_results import Trial, plain
from tlearn.keras_import import tensorflow as tf


def log_trials(folder: Path, trials: Sequence[Trial]) -> None:
    """Write values and figures of the trials that could be trained, in place of what is there."""
    from tensorboard.plugins.hparams import api

    shutil.rmtree(folder, ignore_errors=True)
    for trial in trials:
        if not trial.figures:
            continue
        writer = tf.summary.create_file_writer(str(folder / f"trial-{trial.number:02d}"))
        with writer.as_default(trial.epochs):
            values = {key: plain(value) for key, value in trial.values.items()}
            api.hparams(values | {"share": trial.share}, trial_id=str(trial.number))
            for key, value in trial.figures.items():
                tf.summary.scalar(f"validation/{key}", value)
        writer.close()
