"""A copy of a data set with its edits applied, for other tools."""

import os
from collections import Counter
from pathlib import Path

from tlearn.atomic import atomic_directory
from tlearn.data.edits import Change, append_edits, edits_path
from tlearn.data.file_table import ImageFile
from tlearn.data.filenames import class_folder_name
from tlearn.data.layouts import SPLIT_WORDS, relative_name
from tlearn.data.read_data import read_source
from tlearn.data.scan import Manifest, scan
from tlearn.errors import DataError, os_errors_as
from tlearn.object_stores import StorePath, copy_file
from tlearn.progress import Progress, Silent
from tlearn.text import decode_name, numbered_names


def write_corrected(
    data: Path, out: Path, link: bool = False, progress: Progress | None = None
) -> Manifest:
    """Write the readable images of a data set into class folders, whole or not at all.

    The new folder ``out`` has split folders where ``data`` has them. A slash in the name of a class
    is ``_`` in that of its folder, which is reported. Groups become edits beside it. With ``link``
    it holds hard links instead of copies. The manifest of ``data`` is returned.

    Raises:
        DataError: If ``out`` exists or is inside ``data``, or cannot be written.
    """
    if os.path.lexists(out) or edits_path(out).exists():
        raise DataError(f"{str(out)!r} exists already, or has edits; choose another folder")
    if link and isinstance(data, StorePath):
        raise DataError(f"{str(data)!r} is in a store, to which nothing links; leave out --link")
    if out.resolve().is_relative_to(data.resolve()):
        raise DataError(f"{str(out)!r} is inside {str(data)!r}; choose a folder outside it")
    progress = progress or Silent()
    manifest = scan(data, progress=progress)
    _check_names(manifest, progress)
    how = ", or leave out --link" if link else ""
    advice = f"make room on the disk, or choose another folder{how}"
    groups: list[Change] = []
    with (
        os_errors_as(DataError, f"{str(out)!r} cannot be written", advice),
        atomic_directory(out) as folder,
        progress.task("writing images", len(manifest.files), "files") as task,
    ):
        for file in manifest.files:
            target = _target(folder, file)
            target.parent.mkdir(parents=True, exist_ok=True)
            (os.link if link else copy_file)(file.path, target)
            if file.group:
                groups.append(Change(relative_name(target, folder), "group", file.group))
            task.advance()
        _check_layout(folder, manifest)
    if groups:
        append_edits(out, groups)
        progress.say(f"the groups of {len(groups)} images are in {str(edits_path(out))!r}")
    return manifest


def _check_names(manifest: Manifest, progress: Progress) -> None:
    """Report the classes whose folders have other names; refuse two of one folder."""
    labels: dict[str, str] = {}
    for label in manifest.labels:
        name = class_folder_name(label)
        if name in labels:
            raise DataError(
                f"the classes {labels[name]!r} and {label!r} would both be the folder {name!r}; "
                f"rename one of them"
            )
        labels[name] = label
        if name != label:
            progress.say(f"the folder of class {label!r} is called {name!r}")


def _check_layout(folder: Path, manifest: Manifest) -> None:
    """Refuse a copy whose layout means something else, as with a class called "train"."""
    written = Counter((file.label, file.given) for file in read_source(folder).files)
    files = manifest.files
    if written != Counter((class_folder_name(file.label), file.given) for file in files):
        raise DataError(
            "classes are called like split folders (train, validation, test), so that the folder "
            "would be read in another way; rename these classes first"
        )


def _target(folder: Path, file: ImageFile) -> Path:
    """Return a free path for a file in the folder of its class."""
    folders = filter(None, (file.given, class_folder_name(file.label)))
    below = Path(decode_name(file.below))
    if file.given and SPLIT_WORDS.get(below.parts[0].lower()) == file.given:
        below = below.relative_to(below.parts[0])  # of a table that is above its splits
    first = folder.joinpath(*folders, below)
    paths = (first.with_name(name) for name in numbered_names(first.stem, first.suffix))
    return next(path for path in paths if not os.path.lexists(path))
