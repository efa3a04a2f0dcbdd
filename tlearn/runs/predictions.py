"""Predictions: of a user's images, and of the images that a training held out."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from tlearn.csv_files import csv_rows, csv_text
from tlearn.data.file_table import ImageFile
from tlearn.text import encode_name


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Attributes:
        top: The likeliest classes with their probabilities, best first; empty if it has a problem.
        problem: Why the image cannot be read, else empty.
        unknown: Whether it is unlike the photos of all classes that were trained on.
        distance: How far it is from training photos, as the model sees them; at 1 as far as these
            are from each other. 0 if it has a problem.
    """

    path: Path
    top: tuple[tuple[str, float], ...]
    problem: str = ""
    unknown: bool = False
    distance: float = 0.0

    @property
    def label(self) -> str:
        """The likeliest class, empty if the image cannot be read."""
        return self.top[0][0] if self.top else ""

    @property
    def probability(self) -> float:
        """Its probability, 0 to 1."""
        return self.top[0][1] if self.top else 0.0

    def to_json(self, name: str | None = None) -> str:
        """Return it as a line of JSON; ``name`` is shown for the image instead of its path."""
        path = str(self.path) if name is None else name
        record = {"path": path, "label": self.label, "probability": self.probability}
        for name in ("top", "problem", "unknown", "distance"):
            record[name] = getattr(self, name)
        return json.dumps(record, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> "Prediction":
        """Read a line of :meth:`to_json`.

        Raises:
            ValueError: If it is none.
        """
        try:
            record = json.loads(line)
            top = tuple((str(label), float(p)) for label, p in record["top"])
            rest = str(record["problem"]), bool(record["unknown"]), float(record["distance"])
            return cls(Path(record["path"]), top, *rest)
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no prediction: {line!r}") from error

    @property
    def text(self) -> str:
        """The likeliest classes as people read them, or why there are none."""
        ranked = "  ".join(f"{label} {p:6.1%}" for label, p in self.top)
        return self.problem or (f"unknown, most like {ranked}" if self.unknown else ranked)

    def cells(self, top: int, name: str = "") -> list[str | float]:
        """Return the cells of a CSV row below :func:`prediction_columns`.

        Args:
            top: How many classes there are columns for.
            name: The name shown for the image; its path if not given.
        """
        ranked = [cell for label, p in self.top[:top] for cell in (label, round(p, 6))]
        ranked += [""] * (2 * top - len(ranked))
        known = ["" if self.problem else int(self.unknown), round(self.distance, 3) or ""]
        return [encode_name(name or str(self.path)), *ranked, *known, self.problem]


def prediction_columns(top: int) -> list[str]:
    """Return the columns of a table of predictions with so many classes each."""
    ranked = [f"{what}_{k}" for k in range(1, top + 1) for what in ("label", "probability")]
    return ["path", *ranked, "unknown", "distance", "problem"]


@dataclass(frozen=True)
class HeldOutPrediction:
    """The prediction for a held-out image: a row of ``predictions.csv``.

    A field that is added needs a default: the tables of older runs lack its column.

    Attributes:
        file: Path below the data folder.
        split: ``validation`` or ``test``.
        predicted: The likeliest class.
        probability: Of that, 0 to 1.
        probability_of_label: Of its class, 0 to 1.
    """

    file: str
    split: str
    label: str
    predicted: str
    probability: float
    probability_of_label: float

    @property
    def correct(self) -> bool:
        """Whether the likeliest class is its class."""
        return self.label == self.predicted


HELD_OUT_COLUMNS = tuple(field.name for field in fields(HeldOutPrediction))


def held_out_predictions(
    files: Sequence[ImageFile], split: str, probabilities: np.ndarray, labels: Sequence[str]
) -> list[HeldOutPrediction]:
    """Return predictions from probabilities ``(n, classes)`` of the files of one split."""
    numbers = {label: number for number, label in enumerate(labels)}
    return [
        HeldOutPrediction(
            file=file.name,
            split=split,
            label=file.label,
            predicted=labels[int(p.argmax())],
            probability=round(float(p.max()), 6),
            probability_of_label=round(float(p[numbers[file.label]]), 6),
        )
        for file, p in zip(files, probabilities, strict=True)
    ]


def held_out_csv(predictions: Iterable[HeldOutPrediction]) -> str:
    """Return ``predictions.csv``."""
    return csv_text(HELD_OUT_COLUMNS, map(astuple, predictions))


def read_predictions(text: str) -> list[HeldOutPrediction]:
    """Return the rows of ``predictions.csv``.

    Raises:
        ValueError: If it is damaged.
        KeyError: If a column is missing.
    """
    return [
        HeldOutPrediction(
            file=row["file"],
            split=row["split"],
            label=row["label"],
            predicted=row["predicted"],
            probability=float(row["probability"]),
            probability_of_label=float(row["probability_of_label"]),
        )
        for row in csv_rows(text)
    ]
