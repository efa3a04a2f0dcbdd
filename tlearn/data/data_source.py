"""What a data set holds before edits: its files, and how they were understood."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tlearn.data.file_table import FileTable
from tlearn.data.layouts import Split
from tlearn.data.problems import Problem
from tlearn.object_stores import Tree


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
        tree: What was listed of the store that it is in; empty on a disk.
    """

    data: Path
    folder: Path
    files: FileTable
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]
    place: Path
    class_folders: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[Split, str] = field(default_factory=dict)
    tables: str = ""
    tree: Tree = field(default_factory=dict, compare=False, repr=False)
