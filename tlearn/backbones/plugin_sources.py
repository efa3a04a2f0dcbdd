"""Where plugins come from: installed packages, and folders of single files."""

import contextlib
import functools
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from tlearn.errors import ConfigError

GROUP = "tlearn"
OURS = "tlearn"  # the distribution that is loaded first, so that its names cannot be taken
DISABLED = "TLEARN_DISABLE_PLUGINS"

FOLDERS = "TLEARN_PLUGINS_DIR"  # inherited by processes that are started from here


@dataclass(frozen=True)
class Source:
    """A module that may be a plugin, not imported yet."""

    name: str
    distribution: str
    version: str
    load: Callable[[], ModuleType] = field(repr=False, compare=False)


def use_folder(folder: str | Path) -> None:
    """Load every ``.py`` file of a folder as a plugin from now on; this runs their code.

    Files whose names begin with an underscore are skipped.

    Raises:
        ConfigError: If there is no such folder, or no such file in it.
    """
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise ConfigError(
            f"the plugins folder {str(folder)!r} is no folder; give one with single-file plugins, "
            f"NAME.py"
        )
    if not _files(path):
        raise ConfigError(
            f"the plugins folder {str(folder)!r} holds no NAME.py; give one with "
            f"single-file plugins"
        )
    if path not in _folders():
        os.environ[FOLDERS] = os.pathsep.join(map(str, [*_folders(), path]))


def folder_options() -> list[str]:
    """Return the options that load the same folders in a command that is suggested."""
    return [word for folder in _folders() for word in ("--plugins-dir", str(folder))]


@contextlib.contextmanager
def restoring_folders() -> Iterator[None]:
    """Restore afterwards which folders are used."""
    before = os.environ.get(FOLDERS, "")
    try:
        yield
    finally:
        os.environ[FOLDERS] = before


def _folders() -> list[Path]:
    return [Path(name) for name in os.environ.get(FOLDERS, "").split(os.pathsep) if name]


def sources() -> list[Source]:
    """Return all sources: those of tlearn first, then by name, then files."""
    installed = _installed(tuple((path, _changed(path)) for path in sys.path))
    files = [file for folder in _folders() for file in _files(folder)]
    return installed + [Source(f.stem, str(f), "", functools.partial(_module, f)) for f in files]


def _changed(folder: str) -> int:
    """Return when something was installed into a folder or removed from it, in nanoseconds."""
    try:
        return Path(folder).stat().st_mtime_ns  # of "" that of where we are
    except OSError:
        return 0


@functools.lru_cache(maxsize=1)  # the files of all distributions are looked at
def _installed(places: tuple[tuple[str, int], ...]) -> list[Source]:
    """Return the sources of the packages in these folders, which are those of ``sys.path``."""
    entries = set(importlib.metadata.entry_points(group=GROUP))
    described = [(entry, *_distribution(entry.dist)) for entry in entries]
    described.sort(key=lambda e: (e[1] != OURS, e[0].name, e[0].value, e[1:]))
    return [Source(e.name, name, version, e.load) for e, name, version in described]


def disabled_names() -> set[str]:
    """Return the names of plugins or distributions that the environment disables."""
    return {name.strip() for name in os.environ.get(DISABLED, "").split(",")} - {""}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))


def _distribution(distribution: importlib.metadata.Distribution | None) -> tuple[str, str]:
    """Return name and version, whose file takes long to parse."""
    if distribution is None:
        return "unknown", "0"
    facts = distribution.metadata
    return facts["Name"], facts["Version"]


def _module(file: Path) -> ModuleType:
    """Import a file, once, under a name that no package has.

    The name is the same in every process and place: saved models name it for layers of their own.
    """
    name = f"tlearn_file_{file.stem}"
    known = sys.modules.get(name)
    if known and known.__file__ == str(file):
        return known
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # as an import does
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
