"""What workers report of themselves before they train together, and in what they must be alike."""

import contextlib
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tlearn import __version__
from tlearn.backbones import load_registry
from tlearn.config import RunConfig
from tlearn.python_files import files_of, with_copies


def versions(plugin: str = "") -> dict[str, str]:
    """Return the versions in which workers must agree; ``plugin`` is a distribution."""
    found = {"tlearn": __version__}
    for name in filter(None, ("tensorflow", "keras", plugin)):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def record_of(run: Path, config: RunConfig, data: Path, goes_on: bool = False) -> dict[str, Any]:
    """Return what a worker reports of a run, which others may continue from it.

    Args:
        run: The run directory.
        config: The configuration.
        data: What is trained on.
        goes_on: Whether the run began before: then its configuration is not that of a command.
    """
    values = config.model_dump(mode="json")
    plain = with_copies(values, Path())
    for key, file in files_of(config).items():
        plain[f"file of {key}"] = hashlib.sha256(file.read_bytes()).hexdigest()
    return {
        "versions": versions(load_registry().plugin_of(config.backbone).distribution),
        "config": None if goes_on else plain,
        "run": str(run.absolute()),
        "request": with_copies(values, run.absolute()),
        "data": str(data.resolve()),
    }


def difference(first: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Return in what a worker was started differently than the first; ``None`` if in nothing.

    It is the name of a thing, as the other has it, and as the first has it.
    """
    mine, theirs = (
        {
            **{f"version of {name}": text for name, text in one["versions"].items()},
            "list of workers": one["workers"],
            **_by_dotted_key(one["config"] or {}),  # none where a run goes on
        }
        for one in (first, other)
    )
    for name in mine:
        if name in theirs and mine[name] != theirs[name]:
            return name, _short(theirs[name]), _short(mine[name])
    return None


def _by_dotted_key(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested sections by keys such as ``head.dropout``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inside = isinstance(value, dict)
        flat |= _by_dotted_key(value, f"{prefix}{key}.") if inside else {f"{prefix}{key}": value}
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:97] + "..."
