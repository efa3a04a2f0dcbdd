"""Checks of what is on the photos, by the features of a backbone."""

import numpy as np
import pyarrow.compute as pc

from tlearn.backbones import load_registry
from tlearn.checks.content_checks import check_labels, check_outliers
from tlearn.checks.copy_checks import Pictures, check_copies, check_shots
from tlearn.checks.finding import Finding
from tlearn.checks.near_duplicates import near_duplicates
from tlearn.checks.photo_features import PhotoFeatures, read_features, thumbnails
from tlearn.checks.suspect_labels import FITS, LabelNoise, label_noise
from tlearn.config import RunConfig
from tlearn.data.file_table import FileTable
from tlearn.data.layouts import SPLITS
from tlearn.data.scan import Manifest
from tlearn.data.splits import Splits, draw_splits
from tlearn.errors import DataError
from tlearn.features.activation_cache import open_cache
from tlearn.progress import Progress
from tlearn.runs.measurement import class_numbers
from tlearn.training.cross_validation import few_threads
from tlearn.training.setup import read_setup
from tlearn.training.stages import with_preset


def check_content(manifest: Manifest, config: RunConfig, progress: Progress) -> list[Finding]:
    """Return what is found in the photos of a scanned data set, in any order.

    Copies and near-identical shots, suspect labels and outliers. The features are those that a
    training with this configuration uses: what is computed for one is cached for the other.

    Raises:
        TlearnError: If the backbone cannot be built, its weights cannot be had, or a photo can no
            longer be read.
    """
    numbers = manifest.files.content_numbers()
    first = manifest.files[np.unique(numbers, return_index=True)[1]]
    features = _features(manifest, first, config, progress)
    pairs = near_duplicates(features.depths, thumbnails(first, progress), progress)
    splits = _splits(manifest, config)
    pictures = Pictures(manifest.files, numbers, manifest.labels, splits, pairs)
    y = class_numbers(first, manifest.labels)
    noise = _label_noise(pictures, features, y, config.seed, progress)
    copies = check_copies(pictures, noise.probabilities)
    conflicts = {finding.names[0] for finding in copies if finding.check == "conflict"}
    suspects = [f for f in check_labels(pictures, noise, y) if f.names[0] not in conflicts]
    named = conflicts | {finding.names[0] for finding in suspects}
    outliers = [f for f in check_outliers(first, features.top, y) if f.names[0] not in named]
    return [*copies, *check_shots(pictures), *suspects, *outliers]


def _features(
    manifest: Manifest, files: FileTable, config: RunConfig, progress: Progress
) -> PhotoFeatures:
    """Return the features of photos."""
    config = with_preset(config, *load_registry().check(config))
    splits = Splits(manifest.labels, files, files[:0], files[:0])
    with open_cache(config, progress.say) as cache:
        setup = read_setup(config, (manifest, splits), cache, progress)
        return read_features(setup.activations, files, config.seed, progress)


def _splits(manifest: Manifest, config: RunConfig) -> np.ndarray:
    """Return the split of each file, as a training draws it where none is given: ``(n,)``.

    That is its place in ``SPLITS``, -1 for none.
    """
    of_file = manifest.files.given.as_numbers(SPLITS)
    try:
        drawn, _ = draw_splits(manifest, config.val, config.test, config.seed)
    except DataError:  # too few photos: a training would say so
        return of_file
    names = manifest.files.names
    for number, (_, files) in enumerate(drawn.items()):
        of_file[pc.is_in(names, value_set=files.names).to_numpy(zero_copy_only=False)] = number
    return of_file


def _label_noise(
    pictures: Pictures, features: PhotoFeatures, y: np.ndarray, seed: int, progress: Progress
) -> LabelNoise:
    """Return how far labels can be believed; copies do not vouch for each other."""
    units, classes = pictures.units(), len(pictures.labels)
    with progress.task("cross-validating labels", FITS, "fits") as task:
        if classes < 2 or len(set(units)) < 2:
            return LabelNoise(np.full((len(y), classes), 1 / classes), np.zeros(len(y)), 0.0)
        with few_threads(features.depths.size * classes):
            return label_noise(features.depths, y, classes, units, seed, task.advance)
