"""Python files of users that a training needs: copied into its run, and loaded from there.

A configuration names them as ``FILE.py``, or ``FILE.py:NAME`` for an object in them. That of a run
names the copies, which lie beside its ``run.yaml``.
"""

import contextlib
import hashlib
import importlib.util
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tlearn.cache_folder import cache_folder
from tlearn.errors import ConfigError

if TYPE_CHECKING:
    from tlearn.config import RunConfig

# The names of the copies, by configuration key.
COPIES = {"callbacks": "callbacks.py", "train_step": "train_step.py", "head.module": "head.py"}
HEADS = "head*.py"  # in a run, with layers that its model may have; an ensemble has several
TRUSTED = "trusted"  # a folder of the cache


def files_of(config: "RunConfig") -> dict[str, Path]:
    """Return the files that a configuration names, by configuration key.

    Raises:
        ConfigError: If there is no such file.
    """
    references = {"train_step": config.train_step, "head.module": config.head.module}
    names = {key: split_reference(reference)[0] for key, reference in references.items()}
    files = {k: Path(v) for k, v in {"callbacks": config.callbacks, **names}.items() if v}
    for key, path in files.items():
        if not path.is_file():
            raise ConfigError(f"{key}: there is no file {str(path)!r}; give a Python file", key)
    return files


def split_reference(reference: str) -> tuple[str, str]:
    """Return file and name of ``FILE.py:NAME``; the file is empty for an object of Python."""
    file, _, name = reference.rpartition(":")
    return file, name


def with_copies(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the values of a configuration with the copies in a folder instead of its files."""
    values = deepcopy(values)
    for key, copy in COPIES.items():
        section, _, last = key.rpartition(".")
        inside = values.get(section) if section else values
        given = inside.get(last) if isinstance(inside, dict) else None
        if inside and isinstance(given, str) and given and not given.startswith(":"):
            _, colon, name = given.rpartition(".py:")
            inside[last] = str(folder / copy) + (f":{name}" if colon else "")
    return values


def as_given(message: str, folder: Path, files: Mapping[str, Path]) -> str:
    """Return a message with the files of a user, by configuration key, instead of their copies."""
    for key, file in files.items():
        message = message.replace(str(folder / COPIES[key]), str(file))
    return message


def object_of(path: Path, name: str) -> Any:
    """Run a Python file; return what it has under a name. It may raise any exception.

    Raises:
        ImportError: If it is no ``.py`` file.
        AttributeError: If it has no such name.
    """
    return getattr(run_file(path), name)


def run_file(path: Path) -> ModuleType:
    """Run a Python file, which may raise any exception; return it as a module.

    Raises:
        ImportError: If it is no ``.py`` file.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is no .py file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def trust(path: Path) -> None:
    """Remember that the user has had a file run: a copy of it may be run where it is needed."""
    mark = _mark(path)
    with contextlib.suppress(OSError):  # it is asked about then
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()


def is_trusted(path: Path) -> bool:
    """Return whether the user has had a file of this content run on this machine."""
    return path.is_file() and _mark(path).exists()


def _mark(path: Path) -> Path:
    return cache_folder() / TRUSTED / hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
