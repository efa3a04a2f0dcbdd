"""What the saved model of a run gives for its images: probabilities and features."""

import io
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import repeat

import numpy as np

from tlearn.data.file_table import ImageFile
from tlearn.runs.classifier import ModelOutputs


@dataclass(frozen=True)
class Outputs:
    """What the saved model gives for ``n`` images of a run: ``outputs.npz``.

    Attributes:
        files: The paths below the data folder, ``(n,)``, as in ``splits.csv``.
        splits: ``train``, ``validation`` or ``test``, ``(n,)``.
        labels: The class of each image, ``(n,)``.
        probabilities: ``(n, classes)``, float32.
        features: ``(n, m, k)``, float32: see :class:`tlearn.runs.classifier.ModelOutputs`.
    """

    files: np.ndarray
    splits: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    features: np.ndarray

    @classmethod
    def of(cls, parts: Iterable[tuple[str, Sequence[ImageFile], ModelOutputs]]) -> "Outputs":
        """Join what a model gives for images of several splits."""
        columns = [
            (
                [file.name for file in files],
                list(repeat(split, len(files))),
                [file.label for file in files],
                *outputs,
            )
            for split, files, outputs in parts
        ]
        return cls(*(np.concatenate(column) for column in zip(*columns, strict=True)))

    def of_split(self, *splits: str) -> "Outputs":
        """Return the rows of some splits."""
        return self.rows(np.isin(self.splits, splits))

    def rows(self, chosen: np.ndarray) -> "Outputs":
        """Return some rows, by a mask or by their positions."""
        return Outputs(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def to_bytes(self) -> bytes:
        """Return the file; features are rounded to float16."""
        file = io.BytesIO()
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        arrays["features"] = self.features.astype(np.float16)
        np.savez_compressed(file, allow_pickle=False, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Outputs":
        """Read the file.

        Raises:
            ValueError: If it is damaged.
            KeyError: If something is missing.
        """
        if not zipfile.is_zipfile(io.BytesIO(content)):  # NumPy would take it for a pickle
            raise ValueError("it is not an .npz file")
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                columns = {field.name: arrays[field.name] for field in fields(cls)}
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise ValueError(str(error)) from None
        columns["features"] = columns["features"].astype(np.float32)
        if columns["features"].ndim != 3:
            raise ValueError(f"features of {columns['features'].ndim} dimensions")
        return cls(**columns)
