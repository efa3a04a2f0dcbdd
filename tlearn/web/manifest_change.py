"""What has changed from one manifest of a data set to the next, which takes little to send."""

from dataclasses import dataclass, replace

import numpy as np

from tlearn.data.file_table import FileTable
from tlearn.data.scan import Manifest


@dataclass(frozen=True)
class ManifestChange:
    """What makes one manifest of another.

    Attributes:
        stay: The places in the old manifest of the files that have not changed.
        new: Files that are new or have changed.
        places: Their places among all.
        rest: The new manifest without files.
    """

    stay: np.ndarray
    new: FileTable
    places: np.ndarray
    rest: Manifest

    @classmethod
    def between(cls, before: Manifest, after: Manifest) -> "ManifestChange":
        """Compare two manifests whose common files are in one order."""
        old = {file: place for place, file in enumerate(before.files)}
        stay = np.array([old.get(file, -1) for file in after.files], np.int64)
        places = np.flatnonzero(stay < 0)
        rest = replace(after, files=after.files[:0])
        return cls(stay[stay >= 0], after.files[places], places, rest)

    def apply(self, before: Manifest) -> Manifest:
        """Return the manifest that ``before`` has become."""
        both = FileTable.concatenated([before.files[self.stay], self.new])
        order = np.empty(len(both), np.int64)
        is_new = np.zeros(len(both), bool)
        is_new[self.places] = True
        order[~is_new] = np.arange(len(self.stay))
        order[is_new] = len(self.stay) + np.arange(len(self.new))
        return replace(self.rest, files=both[order])
