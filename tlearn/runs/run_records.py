"""What a finished run has on record: figures, epochs, configuration, tables."""

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TextIO

from tlearn.csv_files import csv_rows, read_columns
from tlearn.data.image_paths import PathLike
from tlearn.data.layouts import SPLITS
from tlearn.errors import RunError, one_line
from tlearn.object_stores import as_path
from tlearn.runs.directory import DAMAGED, EARLIER_SPLITS, check_usable, read_record
from tlearn.runs.measurement import gain_lines, measured_split, metric_texts
from tlearn.runs.predictions import HeldOutPrediction, read_predictions
from tlearn.runs.stored_runs import local_run, url_of
from tlearn.text import whole_percents

UNIT_COLUMNS = ("content", "group", "split")
PROBLEM_COLUMNS = ("file", "kind", "reason")


class RunRecords:
    """The files of a run directory but for its model.

    Args:
        path: The run directory, or its URL in a store, from where it is downloaded.

    Raises:
        RunError: If it is no run or not finished.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = local_run(path)
        check_usable(self.path)

    @property
    def place(self) -> Path:
        """Where the run is for its users: its path, or its URL in a store."""
        return as_path(url_of(self.path) or self.path)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json``."""
        with self._reading("metrics.json") as file:
            return dict(json.load(file))

    @property
    def measured_split(self) -> Literal["validation", "test"]:
        """The split whose figures stand for the run: test where there is one, else validation."""
        return measured_split(self.metrics)

    def metric_texts(self, split: str) -> dict[str, str]:
        """Return the metrics of ``validation`` or ``test`` as people read them, by their names."""
        return metric_texts(self.metrics[split])

    @property
    def stage_shares(self) -> list[str]:
        """How much each stage, the probe first, counts in the model, as percentages."""
        return whole_percents([stage["share"] for stage in self.metrics["stages"]])

    def gain_lines(self) -> list[str]:
        """Return lines on what an ensemble gains over the best of its runs; none of a training."""
        return gain_lines(self.metrics)

    @cached_property
    def history(self) -> Any:
        """The epochs of all stages as a :class:`pandas.DataFrame`; columns as ``history.csv``."""
        import pandas as pd

        with self._reading("history.csv") as file:
            return pd.read_csv(file)

    @cached_property
    def record(self) -> dict[str, Any]:
        """The content of ``run.yaml``."""
        with self._explaining("run.yaml"):
            return read_record(self.path)

    @property
    def photo_folder(self) -> Path:
        """The folder that the names of the photos are relative to."""
        data = self.record["data"]
        return as_path(data.get("folder", data["path"]))

    def problems(self) -> list[dict[str, str]]:
        """Return the rows of ``problems.csv``: ``file``, ``kind``, ``reason``."""
        return self._rows("problems.csv", *PROBLEM_COLUMNS)

    def held_out_predictions(self) -> list[HeldOutPrediction]:
        """Return the predictions of the saved model for the held-out images.

        Raises:
            RunError: If ``predictions.csv`` is missing or damaged.
        """
        with self._reading("predictions.csv") as file:
            return read_predictions(file.read())

    def splits(self) -> dict[str, str]:
        """Return the split of every image of the training, by its content hash.

        With those of the runs that it continues, where they are not among its own.
        """
        rows = self.split_rows()
        return dict(zip(rows["content"].to_pylist(), rows["split"].to_pylist(), strict=True))

    def split_rows(self) -> Any:
        """Return ``content``, ``group`` and ``split`` of what :meth:`splits` tells.

        They are an Arrow table of texts, those of other runs first.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        with self._explaining("splits.csv"):
            rows = read_columns(self.path / "splits.csv", UNIT_COLUMNS)
            if {*rows["split"].unique().to_pylist()} - set(SPLITS) or not len(rows):
                raise ValueError("it does not hold the splits of the images")
        if (self.path / EARLIER_SPLITS).exists():
            with self._explaining(EARLIER_SPLITS):
                earlier = read_columns(self.path / EARLIER_SPLITS, UNIT_COLUMNS)
            own = pc.is_in(earlier["content"], value_set=rows["content"].combine_chunks())
            rows = pa.concat_tables([earlier.filter(pc.invert(own)), rows])
        return rows

    def class_counts(self, split: str) -> Counter[str]:
        """Return how many images of each class are in a split."""
        import pyarrow.compute as pc

        with self._explaining("splits.csv"):
            rows = read_columns(self.path / "splits.csv", ("class", "split"))
        return Counter(rows["class"].filter(pc.equal(rows["split"], split)).to_pylist())

    def contents(self) -> dict[str, str]:
        """Return the content hash of every image of the training, by its path below the data."""
        with self._explaining("splits.csv"):
            rows = read_columns(self.path / "splits.csv", ("file", "content"))
        return dict(zip(rows["file"].to_pylist(), rows["content"].to_pylist(), strict=True))

    def _rows(self, name: str, *columns: str) -> list[dict[str, str]]:
        """Return some columns of a table of the run.

        Raises:
            RunError: If it is missing or damaged.
        """
        with self._reading(name) as file:
            return [{c: row[c] for c in columns} for row in csv_rows(file.read())]

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[TextIO]:
        """Open a file of the run.

        Raises:
            RunError: If it is missing or damaged.
        """
        with (
            self._explaining(name),
            (self.path / name).open(encoding="utf-8", newline="") as file,
        ):
            yield file

    @contextlib.contextmanager
    def _explaining(self, name: str) -> Iterator[None]:
        """Raise a RunError about a file of the run that cannot be read."""
        try:
            yield
        except DAMAGED as error:
            raise RunError(
                f"{name} of the run {str(self.path)!r} is missing or damaged: {one_line(error)}; "
                f"put it back or train again"
            ) from None
