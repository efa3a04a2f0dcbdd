"""Several workers in one training: how they begin together and end together."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tlearn.config import RunConfig
from tlearn.object_stores import as_path
from tlearn.runs.directory import Request, RunDirectory
from tlearn.settings import make_config
from tlearn.training.worker_records import record_of, versions
from tlearn.training.workers import Workers, timeout

if TYPE_CHECKING:
    from tlearn.training.replicas import Replicas


@contextlib.contextmanager
def beside_the_first(
    workers: Workers, data: Path | None, config: RunConfig | None
) -> Iterator[tuple[RunDirectory, Path]]:
    """Wait for all workers; give a run directory for a while, and where that of the first is.

    Args:
        workers: All workers, of which this is not the first.
        data: Where this worker reads the images; where the first does if not given.
        config: What it was given; what the first trains if not given, as where a run goes on.

    Raises:
        TlearnError: If the workers cannot train together.
    """
    import tlearn.keras_import  # noqa: F401 (before they meet: it takes seconds)

    own = record_of(Path(), config, Path()) if config else {"versions": versions(), "config": None}
    first = workers.meet(own)
    if config is None or first["config"] is None:
        config = make_config(options=first["request"])
    with TemporaryDirectory() as folder:
        data = data or as_path(first["data"])
        yield RunDirectory.create(Path(folder) / "run", config, data), Path(first["run"])


def connect(
    workers: Workers, run: RunDirectory, request: Request, say: Callable[[str], None]
) -> Replicas:
    """Return the devices of all workers; the first waits for the others here.

    Raises:
        RunError: If one does not come, or was started with something else.
    """
    from tlearn.training.replicas import Replicas  # before they meet: it takes seconds

    if not workers.index:
        workers.meet(record_of(run.path, request.config, request.data, request.began))
    say(f"connecting {len(workers.addresses)} workers, for {timeout():g} s at most")
    return Replicas.of(workers)


def end_together(replicas: Replicas) -> None:
    """Wait, as one of several workers, until the first has written the run.

    Raises:
        Exception: If it ended before. What the others do by now does not matter to the first.
    """
    with contextlib.suppress(Exception) if replicas.first else contextlib.nullcontext():
        replicas.any(False)
