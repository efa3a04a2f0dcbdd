"""Python files of users that a training needs: copied into its run, and loaded from there."""

import importlib.util
from pathlib import Path
from typing import Any

from tlearn.config import RunConfig
from tlearn.errors import ConfigError

# Their names in a run, by configuration key.
COPIES = {"callbacks": "callbacks.py", "train_step": "train_step.py"}


def files_of(config: RunConfig) -> dict[str, Path]:
    """Return the files that a configuration names, by configuration key.

    Raises:
        ConfigError: If there is no such file.
    """
    given = {"callbacks": config.callbacks, "train_step": split_reference(config.train_step)[0]}
    files = {key: Path(name) for key, name in given.items() if name}
    for key, path in files.items():
        if not path.is_file():
            raise ConfigError(f"{key}: there is no file {str(path)!r}; give a Python file", key)
    return files


def split_reference(reference: str) -> tuple[str, str]:
    """Return file and name of ``FILE.py:NAME``; the file is empty for an object of Python."""
    file, _, name = reference.rpartition(":")
    return file, name


def object_of(path: Path, name: str) -> Any:
    """Run a Python file; return what it has under a name. It may raise any exception.

    Raises:
        ImportError: If it is no ``.py`` file.
        AttributeError: If it has no such name.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is no .py file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)
