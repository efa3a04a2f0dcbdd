"""The accuracy of the probe by the number of training photos, and what more photos would bring."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.atomic import atomic_directory
from tlearn.backbones import load_registry
from tlearn.backbones.availability import check_weights
from tlearn.config import RunConfig
from tlearn.data.read_data import check_data, data_name
from tlearn.data.splits import load_dataset
from tlearn.experiments.candidates import ComparisonSetup, cache_what_fits
from tlearn.experiments.power_law import Forecast, forecast
from tlearn.experiments.subsets import REPEATS, Subsets, measure, subsets_of
from tlearn.features.activation_cache import open_cache
from tlearn.features.built_backbone import FEATURES
from tlearn.features.image_views import ImageViews
from tlearn.object_stores import as_path
from tlearn.progress import Progress, console_progress
from tlearn.runs.charts import render
from tlearn.runs.directory import check_free, free_name
from tlearn.runs.growth_chart import accuracy_by_photos
from tlearn.runs.measurement import interval, with_interval
from tlearn.settings import make_config
from tlearn.training.probe import fit_on_taps
from tlearn.training.setup import Setup

CURVES = Path("learning_curves")  # where curves go that are given no place
DRAWN = 40  # points of the curve in the chart


@dataclass(frozen=True)
class LearningCurve:
    """How the accuracy of the probe grows with the number of training photos.

    Attributes:
        data: What it was measured on.
        backbone: Whose features the probe sees.
        shares: Of the photos to train on, rising to 1.
        images: How many photos these are, ``(shares,)``.
        wrong: Whether a probe of each repetition and share is wrong about each photo, none of which
            it was trained on: ``(repetitions, shares, photos)``.
        all_images: How many photos there are, to train on and to measure.
        used: How many of those the curve is of.
        forecast: What more photos would likely bring.
        path: The folder with the figures and the chart.
    """

    data: Path
    backbone: str
    shares: tuple[float, ...]
    images: np.ndarray
    wrong: np.ndarray
    all_images: int
    used: int
    forecast: Forecast
    path: Path

    @cached_property
    def accuracies(self) -> list[float]:
        """The accuracy over each number of photos: the mean of the repetitions."""
        return [float(1 - row.mean()) for row in self.wrong.transpose(1, 0, 2)]

    def rows(self) -> list[dict[str, Any]]:
        """Return one record per number of photos, as ``learning_curve.json`` has them."""
        measured = self.wrong.shape[2]
        return [
            {
                "share": share,
                "images": round(images),
                "accuracy": accuracy,
                "accuracy_ci95": interval(accuracy, measured),
                "of_repetitions": [float(1 - row.mean()) for row in self.wrong[:, number]],
            }
            for number, (share, images, accuracy) in enumerate(
                zip(self.shares, self.images, self.accuracies, strict=True)
            )
        ]

    def record(self) -> dict[str, Any]:
        """Return what ``learning_curve.json`` holds."""
        known = self.forecast
        accuracy, *bounds = known.accuracy(known.more)
        return {
            "data": str(self.data),
            "backbone": self.backbone,
            "measured_on": self.wrong.shape[2],
            "images": self.all_images,
            "used": self.used,
            "sizes": self.rows(),
            "forecast": {
                "images": known.more,
                "accuracy": accuracy,
                "accuracy_ci95": bounds,
                "gain": known.gain,
                "gain_ci95": list(known.ci95),
                "text": known.text,
            },
        }

    def band(self) -> list[dict[str, Any]]:
        """Return the law over the number of photos, with its 95% interval, for the chart."""
        last = self.forecast.more
        return [
            dict(
                zip(
                    ("images", "accuracy", "low", "high"),
                    (n, *self.forecast.accuracy(n)),
                    strict=True,
                )
            )
            for n in np.geomspace(self.images[0], last, DRAWN).tolist()
        ]

    @property
    def text(self) -> str:
        """It, for people."""
        measured = self.wrong.shape[2]
        lines = [
            f"{row['images']:>7,} photos ({row['share']:>4.0%})  "
            f"{with_interval(row['accuracy'], measured)}"
            for row in self.rows()
        ]
        lines.append(
            f"a probe on {self.backbone}, each time {REPEATS} subsets, measured on {measured:,} "
            f"photos that it was not trained on; test was not used"
        )
        if self.all_images > self.used:
            lines.append(
                f"of a sample of {self.used:,} of the {self.all_images:,} photos: more is counted "
                f"from the sample on"
            )
        return "\n".join([*lines, self.forecast.text])


def learning_curve(
    data: str | Path,
    out: str | Path | None = None,
    *,
    config: str | Path | RunConfig | None = None,
    quiet: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> LearningCurve:
    """Measure the accuracy of the probe over growing numbers of training photos.

    Photos are held out in turn, in as many folds as the part for validation says, or they are those
    that the data gives for validation. For each part of the others, subsets are drawn: of each
    class in proportion, groups in one piece, smaller ones within larger ones. Activations are
    cached, so that a training starts warm.

    Args:
        data: As of :func:`tlearn.finetune`.
        out: The folder to make; ``learning_curves/<name of the data>`` if not given.
        config: A configuration or a YAML file of one.
        quiet: Show nothing while it works.
        progress: Where to show progress instead of standard error.
        **options: Fields of :class:`tlearn.RunConfig`, such as ``backbone``.

    Returns:
        The curve; ``learning_curve.json``, ``.svg`` and ``.png`` are in ``path``.

    Raises:
        TlearnError: If an argument cannot be used, or there are too few photos; nothing is written
            then.

    Example:
        >>> tlearn.learning_curve("photos").forecast.text  # doctest: +SKIP
        '600 more photos of the same kind would bring about 1.9 points (95% interval 0.9 to 3.1)'
    """
    settings = make_config(config, options=options)
    data, progress = as_path(data), progress or console_progress(quiet)
    path = Path(out) if out else free_name(data_name(data), CURVES)
    check_free(path)
    backbone = load_registry().get(settings.backbone)
    check_data(data)
    check_weights(backbone, backbone.checked_weights(settings.weights))
    manifest, splits = load_dataset(data, settings, progress)
    subsets = subsets_of(splits, settings)
    with atomic_directory(path) as folder:
        with open_cache(settings, progress.say) as cache:
            setup = ComparisonSetup(settings, manifest, splits, cache, progress).of(backbone.name)
            images, wrong = measure(subsets, features_of(setup, subsets), progress)
        curve = LearningCurve(
            data,
            backbone.name,
            subsets.shares,
            images,
            wrong,
            len(splits.train) + len(splits.validation),
            len(subsets.files),
            forecast(images, wrong, subsets.groups[subsets.measured], settings.seed),
            path,
        )
        content = json.dumps(curve.record(), indent=2, ensure_ascii=False) + "\n"
        chart = accuracy_by_photos(curve.rows(), curve.band())
        for kind, written in ({"json": content.encode()} | render(chart)).items():
            (folder / f"learning_curve.{kind}").write_bytes(written)
    return curve


def features_of(setup: Setup, subsets: Subsets) -> np.ndarray:
    """Return the features of all photos at the taps that a probe of all is better with."""
    views = ImageViews(subsets.files)
    cache_what_fits(setup.activations, views)
    features = setup.activations.rows(views, FEATURES)
    rows = np.flatnonzero(subsets.folds[0] != 0)
    taps, wanted = setup.built.taps, setup.config.head.taps
    chosen, _ = fit_on_taps(
        features[rows, None], taps, wanted, *subsets.known(rows), setup.progress
    )
    return features[:, -sum(tap.width for tap in chosen) :]  # those of the top are the last
