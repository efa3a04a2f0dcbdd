"""Callbacks that write a row per epoch to ``epochs.csv`` of the run, over all stages."""

import csv
from pathlib import Path
from typing import Any

from tlearn.backbones import hookimpl
from tlearn.config import Stage


@hookimpl
def tlearn_callbacks(stage: Stage, run: Path) -> Any:
    """Return a callback that appends its stage's epochs."""
    from keras.callbacks import LambdaCallback

    path = run / "epochs.csv"

    def write(epoch: int, logs: dict[str, float]) -> None:
        new = not path.exists()
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["unfreeze", "epoch", *logs])
            writer.writerow([stage.unfreeze, epoch + 1, *(float(value) for value in logs.values())])

    return LambdaCallback(on_epoch_end=write)
