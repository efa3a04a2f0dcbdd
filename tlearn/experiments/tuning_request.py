"""The folder of a search: what it is about, and its photos with the split of each."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from tlearn.atomic import atomic_file, remove_temporaries
from tlearn.config import RunConfig
from tlearn.data.splits import list_dataset, load_dataset
from tlearn.errors import RunError, one_line
from tlearn.object_stores import as_path
from tlearn.progress import Progress
from tlearn.python_files import COPIES, files_of, with_copies
from tlearn.runs.directory import DAMAGED
from tlearn.settings import make_config
from tlearn.text import decode_name, shell

TEST = 0.2  # the fraction that no trial sees, if none is asked for
PHOTOS, REQUEST = "photos.jsonl", "search.yaml"


@dataclass(frozen=True)
class Request:
    """What a search is about; it cannot be continued with another ``data``, ``config``, ...

    Attributes:
        data: The data set.
        config: What every trial has, and what the best is compared with.
        space: What varies.
        folds: Cross-validation with so many, or 0 for the validation split.
        repeats: How often the two that are compared are trained, with a seed each.
        trials: How many there are at most, which may change.
        time_budget: Seconds, which may change.
        parallel: How many trials are trained at the same time, on a cluster: they are proposed
            without each other's figures. A search that is continued goes on with its number.
    """

    data: str
    config: dict[str, Any]
    space: dict[str, Any]
    tuner: str
    folds: int
    repeats: int
    trials: int
    time_budget: float | None
    parallel: int = 1

    @property
    def settings(self) -> RunConfig:
        """The configuration."""
        return make_config(options=self.config)

    @property
    def fixed(self) -> dict[str, Any]:
        """The values of the space that do not vary, by key."""
        lists = {k: v for k, v in self.space.items() if isinstance(v, list)}
        return {key: values[0] for key, values in lists.items() if len(values) == 1}

    @property
    def varying(self) -> dict[str, Any]:
        """The part of the space that varies."""
        return {k: v for k, v in self.space.items() if k not in self.fixed}


def read_request(path: Path) -> Request:
    """Return what the search in a folder is about.

    Raises:
        RunError: If there is none, or its record is damaged.
    """
    try:
        return Request(**yaml.safe_load((path / REQUEST).read_text(encoding="utf-8")))
    except DAMAGED as error:
        raise RunError(
            f"{str(path)!r} holds no search that can be continued ({one_line(error)}); give a "
            f"folder that 'tlearn tune' made, or begin anew with the data"
        ) from None


def check_same(path: Path, request: Request) -> None:
    """Refuse to continue a search as another.

    Raises:
        RunError: If the folder holds another search.
    """
    before, now = asdict(read_request(path)), asdict(request)
    fixed = now.keys() - {"trials", "time_budget", "parallel"}
    if others := [key for key in now if key in fixed and now[key] != before[key]]:
        raise RunError(
            f"{str(path)!r} holds a search with another {' and '.join(others)}; choose another "
            f"--out, or continue that one with: {shell('tlearn', 'tune', '--resume', path)}"
        )


def prepare_folder(path: Path, request: Request, progress: Progress) -> None:
    """Divide the photos of a new search, and record what it is about; nobody else may work there.

    Python files that the configuration names are copied.

    The test split is drawn by content and group, unless the data has one.
    """
    remove_temporaries(path)
    write(path / REQUEST, yaml.safe_dump(asdict(request), sort_keys=False))
    write(path / "space.yaml", yaml.safe_dump(request.space, sort_keys=False))
    if not (path / PHOTOS).exists():
        config = request.settings
        source = list_dataset(as_path(request.data), config.group, progress)
        if not any(file.given == "test" for file in source.files):
            config = config.model_copy(update={"test": config.test or TEST})
        manifest, splits = load_dataset(source, config, progress)
        lines = (
            {
                "path": str(manifest.folder.resolve() / decode_name(file.name)),
                "label": file.label,
                "split": split,
                "group": file.group,
            }
            for split, files in splits.items()
            for file in files
        )
        for key, file in files_of(config).items():
            shutil.copy(file, path / COPIES[key])
        write(path / PHOTOS, "".join(json.dumps(line) + "\n" for line in lines))


def write(path: Path, text: str) -> None:
    """Write a text so that it is there whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def with_own_files(config: RunConfig, folder: Path) -> RunConfig:
    """Return a configuration that names the copies in a folder instead of the user's files."""
    return make_config(options=with_copies(config.model_dump(exclude_unset=True), folder))


def without(config: RunConfig, *keys: str) -> RunConfig:
    """Return a configuration with the defaults of some keys."""
    values = config.model_dump(exclude_unset=True)
    return make_config(options={k: v for k, v in values.items() if k not in keys})
