"""What the page has done in the process for data: each takes the progress first."""

import secrets
from collections.abc import Callable
from pathlib import Path

from tlearn.atomic import atomic_directory
from tlearn.checks.finding import CheckResult
from tlearn.data import editing
from tlearn.data.archive_folder import add_to_report
from tlearn.data.data_source import DataSource
from tlearn.data.edits import Edits
from tlearn.data.filenames import class_folder_name
from tlearn.data.folders import list_folder
from tlearn.data.layouts import Split
from tlearn.data.problems import Problem, with_ignored_table
from tlearn.data.read_data import read_source
from tlearn.data.sample import draw_sample
from tlearn.data.scan import Manifest, scan
from tlearn.data.scan_cache import ScanCache
from tlearn.data.splits import draw_splits, images_per_class
from tlearn.errors import DataError
from tlearn.progress import Progress
from tlearn.text import natural_key
from tlearn.web.background import Recent
from tlearn.web.manifest_change import ManifestChange

MOST = 10  # data sets whose manifests are held in memory
LOOSE = "these photos lie in no class folder"
_seen = Recent[Path, tuple[str, DataSource, Manifest]](MOST)  # by scans of late, with tokens


def look(
    progress: Progress, root: Path, known: str, edited: bool = False
) -> tuple[str, Manifest | ManifestChange | None]:
    """Scan a data set; only files that have changed are read again.

    Class folders without any file are a data set to begin with.

    Args:
        progress: Reports progress.
        root: The data set.
        known: The token of the manifest that the caller has, or an empty text.
        edited: Whether nothing but its edits has changed: then the files are not listed again.

    Returns:
        A token of what was found, and the manifest: nothing if it is the known one, and what has
        changed if the one before is known.

    Raises:
        DataError: If it cannot be used.
    """
    token, source, last = _seen.get(root, ("", None, None))
    if source is None or not edited:
        source = read_source(root, progress)
    try:
        manifest = scan(source, progress=progress, cache=ScanCache(root))
    except DataError:
        if source.files or not source.class_folders:
            raise
        labels = tuple(sorted({*source.class_folders.values()}, key=natural_key))
        manifest = Manifest(
            root, source.folder, source.files, source.problems, Edits.of(root), empty=labels
        )
    before, token = token, token if manifest == last else secrets.token_hex(8)
    _seen[root] = token, source, manifest
    if known == token:
        return token, None
    if last is not None and known == before:
        change = ManifestChange.between(last, manifest)
        if change.apply(last) == manifest:
            return token, change
    return token, manifest


def split_counts(
    progress: Progress, root: Path, val: float, test: float, seed: int
) -> tuple[dict[str, dict[Split, int]], int]:
    """Return how many photos of each class are in each split, and how many are in none.

    Raises:
        DataError: If the data set cannot be used or split.
    """
    _, _, manifest = _seen.get(root, ("", None, None))
    if manifest is None:
        manifest = scan(root, progress=progress, cache=ScanCache(root))
    splits, problems = draw_splits(manifest, val, test, seed)
    return images_per_class(splits), sum(problem.kind != "empty class" for problem in problems)


def change(progress: Progress, root: Path, do: Callable[..., object], *values: object) -> None:
    """Edit a data set by a function of :mod:`tlearn.data.editing`, as it was seen last.

    Raises:
        DataError: If it cannot be done.
    """
    _, source, _ = _seen.get(root, ("", None, None))
    do(source or root, *values)


def correct(
    progress: Progress, root: Path, label: str, photos: list[tuple[str, Path]]
) -> editing.AddedPhotos:
    """Add photos that were predicted to a class.

    Raises:
        DataError: If nothing can be added.
    """
    return editing.add_photos(root, label, photos)


def describe_new(progress: Progress, root: Path, unsorted: str) -> tuple[int, int]:
    """Return how many photos and classes there are in what was uploaded.

    Photos without class folders and table are put into one folder, called ``unsorted``.

    Raises:
        DataError: If it cannot be used.
    """
    source = read_source(root, progress)
    if not (source.class_folders or source.tables):
        reason = with_ignored_table(LOOSE, source.problems)
        if reason != LOOSE:
            raise DataError(reason)
        _put_into_class(root, unsorted)
        source = read_source(root, progress)
    counts = source.files.labels.counts()
    counts.pop("", None)
    return sum(counts.values()), len(counts)


def add_photos(
    progress: Progress,
    root: Path,
    label: str,
    photos: list[tuple[str, Path | bytes]],
    left_out: list[Problem],
) -> tuple[int, list[Problem]]:
    """Add photos to a class.

    Returns:
        How many were added or moved to it; and what was left out, with ``left_out``, which is added
        to the report of the data set as well.

    Raises:
        DataError: If nothing can be added.
    """
    added = editing.add_photos(root, label, photos)
    problems = [*left_out, *added.left_out]
    if root.is_dir():
        add_to_report(root, problems)
    return len(added.new) + len(added.moved), problems


def make_sample(progress: Progress, folder: Path) -> Path:
    """Draw the sample set into a new folder, which is there when it is whole; return it."""
    with atomic_directory(folder) as temporary:
        draw_sample(temporary, progress)
    return folder


def check_data(progress: Progress, root: Path, content: bool) -> CheckResult:
    """Return what :func:`tlearn.check` finds in a data set.

    Raises:
        TlearnError: If it cannot be used.
    """
    from tlearn.checks.data_check import check

    return check(root, content=content, progress=progress)


def _put_into_class(folder: Path, label: str) -> None:
    """Put photos that lie loose in a folder into the folder of one class there."""
    loose = list_folder(folder)
    target = folder / class_folder_name(label)
    target.mkdir()
    for path in loose:
        path.rename(target / path.name)
