"""A run that goes on from another: its configuration, and how the two compare."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlearn.config import RunConfig
from tlearn.csv_files import read_columns, table_text
from tlearn.data.earlier_splits import EarlierSplits
from tlearn.errors import ConfigError
from tlearn.runs.directory import EARLIER_SPLITS, RunDirectory, check_usable
from tlearn.runs.measurement import with_interval
from tlearn.runs.run import Run
from tlearn.runs.run_comparison import compare_runs
from tlearn.runs.run_records import UNIT_COLUMNS
from tlearn.runs.stored_runs import local_run

# What another run is continued with, if nothing else is asked for.
SAME = (
    *("backbone", "size", "resize", "views", "seed", "val", "test", "group", "preset", "metric"),
    *("class_weights", "head", "augment", "stages", "tta"),
)
SHOWN = 5  # names of classes in a line
FREE = ("taps", "dropout", "l1", "l2")  # keys of a head that do not change what it consists of


def continued(config: RunConfig) -> RunConfig:
    """Return a configuration with what it leaves open as in the run that it continues, if any.

    Raises:
        RunError: If that cannot be used.
        ConfigError: If it asks for another network than that of the run, or the run is an ensemble.
    """
    if not config.from_run:
        return config
    path = local_run(config.from_run).resolve()
    check_usable(path)
    if "members" in Run(path).record:
        raise ConfigError(
            f"{str(path)!r} is an ensemble, which is not trained on; continue one of its runs",
            "from_run",
        )
    before = RunDirectory(path).request().config.model_dump(mode="json")
    given = config.model_dump(mode="json", exclude_unset=True) | {"from_run": str(path)}
    if "preset" in given:
        before |= {"views": None, "stages": None}
    if "metric" in given:
        for stage in before["stages"] or ():
            del stage["monitor"]
    model = str(path / "model.keras")
    values = {key: before[key] for key in SAME} | given | {"weights": model}
    values["head"] = before["head"] | given.get("head", {})
    _check_same(before, {"weights": model} | given, values, path)
    return RunConfig.model_validate({k: v for k, v in values.items() if v is not None})


def _check_same(
    before: dict[str, Any], given: dict[str, Any], values: dict[str, Any], path: Path
) -> None:
    changed = ["backbone"] if values["backbone"] != before["backbone"] else []
    changed += ["weights"] if given["weights"] != values["weights"] else []
    changed += [
        f"head.{key}"
        for key, value in values["head"].items()
        if key not in FREE and value != before["head"][key]
    ]
    if changed:
        raise ConfigError(
            f"from_run continues the network of {str(path)!r}, of the backbone "
            f"{before['backbone']!r}, and takes no other {changed[0]}; leave {changed[0]} out, or "
            f"train anew without from_run",
            changed[0],
        )


def earlier_splits(run: RunDirectory, config: RunConfig) -> EarlierSplits | None:
    """Return where images were in the run that another continues, by content and group.

    It is written into the new run once: the other may be removed, and what the network was trained
    on must be known as long as there is a network that goes on from it.

    Raises:
        RunError: If a file of either is missing or damaged.
    """
    if not config.from_run:
        return None
    file = run / EARLIER_SPLITS
    if not file.exists():
        write_earlier_splits(run, Run(config.from_run).split_rows())
    return EarlierSplits.of_rows(read_columns(file, UNIT_COLUMNS))


def write_earlier_splits(run: RunDirectory, rows: Any) -> None:
    """Write ``earlier_splits.csv``, with rows as :meth:`tlearn.Run.split_rows` gives them."""
    run.write(EARLIER_SPLITS, table_text(rows.select(UNIT_COLUMNS)))


def class_changes(before: Run, labels: Sequence[str]) -> str:
    """Return a line about the classes that are new, and those of a run that are gone."""
    added = [label for label in labels if label not in before.labels]
    removed = [label for label in before.labels if label not in labels]
    parts = [
        f"{len(some)} {what} ({', '.join(some[:SHOWN])}{', ...' if some[SHOWN:] else ''})"
        for what, some in (("added", added), ("removed", removed))
        if some
    ]
    return f"classes: {', '.join(parts) or 'the same'}"


def gain(before: Run, after: Run) -> str:
    """Return a line about how two runs do on the images that neither was trained on."""
    both = compare_runs(before, after)
    if both.p_value is None:
        return f"no image that {str(before.path)!r} held back is held back here"
    old, new = (with_interval(right / both.common, both.common) for right in both.right)
    return (
        f"on the {both.common} images that {str(before.path)!r} held back, too: {old} before, "
        f"{new} now (McNemar's test: p = {both.p_value:.2f})"
    )
