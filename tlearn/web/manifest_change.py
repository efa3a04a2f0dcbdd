"""What has changed from one manifest of a data set to the next, which takes little to send."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tlearn.data.data_source import ImageFile
from tlearn.data.scan import Manifest


@dataclass(frozen=True)
class ManifestChange:
    """What makes one manifest of another.

    Attributes:
        gone: The names of the files that are not there any more, or have changed.
        new: Files that are new or have changed, by their place among all.
        rest: The new manifest without files.
    """

    gone: frozenset[str]
    new: Mapping[int, ImageFile]
    rest: Manifest

    @classmethod
    def between(cls, before: Manifest, after: Manifest) -> "ManifestChange":
        """Compare two manifests whose common files are in one order."""
        old = {file.name: file for file in before.files}
        new = {i: file for i, file in enumerate(after.files) if old.get(file.name) != file}
        stay = {file.name for i, file in enumerate(after.files) if i not in new}
        return cls(frozenset(old.keys() - stay), new, replace(after, files=()))

    def apply(self, before: Manifest) -> Manifest:
        """Return the manifest that ``before`` has become."""
        stay = [file for file in before.files if file.name not in self.gone]
        rest = iter(stay)
        places = range(len(stay) + len(self.new))
        files = (self.new[i] if i in self.new else next(rest) for i in places)
        return replace(self.rest, files=tuple(files))
