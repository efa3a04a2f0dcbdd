"""What a data set holds before edits: its files, and how they were understood."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tlearn.data.layouts import Split
from tlearn.data.pixel_values import DEFAULT_RANGES, ValueRanges
from tlearn.data.problems import Problem


@dataclass(frozen=True)
class ImageFile:
    """One image, or in a data source a file that was not read yet.

    Attributes:
        name: Its path below the folder of the photos, encoded by :func:`tlearn.text.encode_name`;
            absolute where a table names a file elsewhere.
        label: Its class; empty outside class folders, and for what a table does not name.
        content: BLAKE2b hash of its bytes, 32 hexadecimal digits; empty if it was not read.
        given: The split of the ``train/``, ``validation/`` or ``test/`` folder that it is in, or
            that a table gives it.
        group: What an edit says, the group pattern matched, or a table says; files of one group are
            put into one split.
        below: Its path below its class folder, or the folder of its table.
        ranges: The values that become black and white, if it has more than 8 bits.
    """

    path: Path
    name: str
    label: str
    content: str = ""
    given: Split | None = None
    group: str = ""
    below: str = ""
    ranges: ValueRanges = DEFAULT_RANGES


@dataclass(frozen=True)
class DataSource:
    """The files of a data set before edits, and how they were understood.

    Attributes:
        data: What was given: a folder, a table or an archive.
        folder: The folder that the names of files are relative to.
        files: Those outside any class first.
        notes: Lines that tell how the data was read.
        problems: Of folders and tables; of files those that are named twice.
        class_folders: The class of each class folder, by the folder's name.
        splits: The splits that are given, with what comes before the names of their classes.
        tables: The names of the tables; empty for class folders.
        place: The folder for new photos: of class folders, or for all photos that tables name.
    """

    data: Path
    folder: Path
    files: tuple[ImageFile, ...]
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]
    place: Path
    class_folders: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[Split, str] = field(default_factory=dict)
    tables: str = ""
