"""What the page has done in the process for data: each takes the progress first."""

import secrets
from collections.abc import Callable
from pathlib import Path

from tlearn.atomic import atomic_directory
from tlearn.checks.finding import CheckResult
from tlearn.data import editing
from tlearn.data.archive_folder import add_to_report
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

LOOSE = "these photos lie in no class folder"
_CACHE = ScanCache()
_seen: dict[Path, tuple[str, Manifest]] = {}  # what a scan gave last, with its token


def look(progress: Progress, root: Path, known: str) -> tuple[str, Manifest | None]:
    """Scan a data set; only files that have changed are read again.

    Class folders without any file are a data set to begin with.

    Args:
        progress: Reports progress.
        root: The data set.
        known: The token of the manifest that the caller has, or an empty text.

    Returns:
        A token of what was found, and the manifest unless it is the known one.

    Raises:
        DataError: If it cannot be used.
    """
    try:
        manifest = scan(root, progress=progress, cache=_CACHE)
    except DataError:
        source = read_source(root)
        if source.files or not source.class_folders:
            raise
        labels = tuple(sorted({*source.class_folders.values()}, key=natural_key))
        manifest = Manifest(root, source.folder, (), source.problems, Edits.of(root), empty=labels)
    token, last = _seen.get(root, ("", None))
    if manifest != last:
        token = secrets.token_hex(8)
        _seen[root] = token, manifest
    return token, None if token == known else manifest


def split_counts(
    progress: Progress, root: Path, val: float, test: float, seed: int
) -> tuple[dict[str, dict[Split, int]], int]:
    """Return how many photos of each class are in each split, and how many are in none.

    Raises:
        DataError: If the data set cannot be used or split.
    """
    manifest = _seen[root][1] if root in _seen else scan(root, progress=progress, cache=_CACHE)
    splits, problems = draw_splits(manifest, val, test, seed)
    return images_per_class(splits), sum(problem.kind != "empty class" for problem in problems)


def change(
    progress: Progress, do: Callable[..., None], root: Path, names: list[str], *values: str
) -> None:
    """Do something with photos, such as :func:`tlearn.data.editing.exclude`.

    Raises:
        DataError: If it cannot be done.
    """
    do(root, names, *values)


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
    labels = [file.label for file in source.files if file.label]
    return len(labels), len({*labels})


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
