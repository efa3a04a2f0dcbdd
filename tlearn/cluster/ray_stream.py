"""Shards of items through a pool of workers, as a stream of Ray Data.

A shard is one row of one block, so that it is one task: lost with a node, it is computed again from
its items, which the driver has. Shards are cut as they are asked for, so that one stream, with one
pool, takes any number of items. A worker is an actor of Ray that makes itself ready once. It
decodes and computes, so that its processors are never idle while other work waits for them, and no
pixels cross the network; and as no task but these asks for processors, the pool may take them all.
"""

import contextlib
import os
import pickle
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

from tlearn.backbones.plugin_sources import FOLDERS
from tlearn.cluster.nodes import on_this_node, working_nodes
from tlearn.cluster.ray_connection import connect
from tlearn.errors import ClusterError, TlearnError, one_line
from tlearn.progress import console_progress

T = TypeVar("T")

MOST_ITEMS = 128  # of a shard: seconds of work, and little to lose
LEAST_ITEMS = 8  # of a shard, unless there are fewer
SHARDS_EACH = 4  # for each worker at least, so that all end at about the same time
MOST_CPUS = 4  # of a worker: with more its memory, mostly the network, is shared by more
PART = 1024  # shards whose items are sent together
IN_FLIGHT = 2  # results on their way to this process
END_SECONDS = 5  # that a stream may take to end, after its last result or where it is left
# After which the reservation of a driver that was killed ends, which is renewed every ten seconds.
RESERVED_SECONDS = 30
WAIT_SECONDS = 15  # until it is said that workers are awaited
INIT_DEATHS = 10  # in a row of workers that are not ready yet, as where nodes are lost
COLUMN = "data"  # of bytes, the only one


class Computation(Protocol):
    """What is computed of shards; it is pickled once for all workers."""

    def start(self, threads: int) -> Callable[[Sequence[Any]], Any]:
        """Make ready what computes a shard with so many threads.

        What it gives, or the :class:`TlearnError` that it raises, is pickled.
        """
        ...


@dataclass(frozen=True)
class Pool:
    """How many workers there are at first, and what each takes."""

    workers: int
    cpus: int
    gpus: int

    @classmethod
    def of(cls, ray: Any, gpus: bool) -> "Pool":
        """Return a pool that takes all processors of a cluster.

        Args:
            ray: The module, connected.
            gpus: Whether a worker computes on a GPU, where there are any.
        """
        nodes = working_nodes(ray)
        sizes = [node["Resources"] for node in ray.nodes() if node["NodeID"] in nodes]
        if gpus and (count := int(sum(size.get("GPU", 0) for size in sizes))):
            cpus = sum(size["CPU"] for size in sizes if size.get("GPU"))
            return cls(count, max(1, int(cpus / count)), 1)
        cpus = max(1, min(MOST_CPUS, int(min(size["CPU"] for size in sizes)) // 2))
        return cls(max(1, sum(int(size["CPU"] // cpus) for size in sizes)), cpus, 0)


def stream(
    address: str,
    computation: Computation,
    items: Sequence[T],
    most: int = MOST_ITEMS,
    gpus: bool = False,
    say: Callable[[str], None] | None = None,
) -> Iterator[tuple[Sequence[T], Any]]:
    """Yield shards of items in order, each with what was computed of it.

    Ray computes again what is lost with a node or a worker, starts more workers where the cluster
    grows, and waits where results are not taken: memory does not grow with the number of items.

    Args:
        address: The cluster, as of :class:`tlearn.config.RunConfig`.
        computation: What is computed.
        items: They are pickled.
        most: Items of a shard at most.
        gpus: Whether a worker computes on a GPU, where there are any.
        say: Called with a line where no worker answers for long, as where others use the cluster;
            it goes to standard error if not given.

    Raises:
        ClusterError: If the cluster cannot compute, or is lost.
        TlearnError: What the computation raises.
    """
    ray = connect(address)
    pool = Pool.of(ray, gpus)
    size = -(-len(items) // (SHARDS_EACH * pool.workers))
    size = max(1, min(most, max(size, LEAST_ITEMS)))
    shards = (items[i : i + size] for i in range(0, len(items), size))
    answers = _results(items, size, pool, computation, say or console_progress().say)
    with explaining(address), contextlib.closing(answers) as results:
        for shard, result in zip(shards, results, strict=True):
            value = pickle.loads(result)
            if isinstance(value, TlearnError):
                raise value
            yield shard, value


@contextlib.contextmanager
def explaining(address: str) -> Iterator[None]:
    """Say in one line what Ray could not put right.

    Raises:
        ClusterError: Instead of an error of Ray.
    """
    from ray.exceptions import RayError, RayTaskError

    try:
        yield
    except RayTaskError as error:  # of our code in a worker
        cause = error.cause
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = f"{type(cause).__name__}: {one_line(cause)}"
        if isinstance(cause, RayError):  # its text ends with the error that a worker had
            reason = str(cause).rstrip().splitlines()[-1].strip()
        raise ClusterError(
            f"a worker of the cluster {address!r} failed: {reason}; look at its logs, or run the "
            f"command without --cluster"
        ) from error
    except (RayError, ConnectionError) as error:
        raise ClusterError(
            f"the cluster {address!r} failed: {one_line(error)}; look at 'ray status' and run the "
            f"command again: what was cached is not computed again"
        ) from error


@dataclass(frozen=True)
class _Work:
    """What a stream computes.

    Attributes:
        parts: References to the items, pickled, some shards each.
        each: Shards of a part; the last may have less.
        size: Items of a shard.
        shards: How many there are.
        computation: A reference to the computation, pickled.
    """

    parts: Sequence[Any]
    each: int
    size: int
    shards: int
    computation: Any


def _results(
    items: Sequence[Any],
    size: int,
    pool: Pool,
    computation: Computation,
    say: Callable[[str], None],
) -> Generator[bytes, None, None]:
    """Yield what is computed of shards, pickled, in order."""
    import ray

    shards = -(-len(items) // size)
    starts = range(0, len(items), PART * size)
    parts = [ray.put(pickle.dumps(items[i : i + PART * size])) for i in starts]
    # Arguments of an actor itself must not be references, or Ray may not be able to restart it.
    work = _Work(parts, PART, size, shards, ray.put(pickle.dumps(computation)))
    driver: Any = (
        ray.remote(_Driver)
        .options(
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=-1,
            scheduling_strategy=on_this_node(ray),
        )
        .remote(pool, os.environ.get(FOLDERS, ""))
    )
    try:
        numbers = iter(range(shards))
        waiting = deque(driver.result.remote(n, work) for n in islice(numbers, IN_FLIGHT))
        say_awaited(ray, [waiting[0]], say)
        while waiting:
            yield ray.get(waiting.popleft())
            waiting.extend(driver.result.remote(n, work) for n in islice(numbers, 1))
    finally:
        # What a stream has reserved is kept from others for minutes, unless it ends by itself.
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(driver.end.remote(), timeout=END_SECONDS)
        ray.kill(driver)


def say_awaited(ray: Any, results: list[Any], say: Callable[[str], None]) -> None:
    """Wait for the first result of workers; if none comes soon, say since when.

    Args:
        ray: The module, connected.
        results: References; one of them is waited for.
        say: Called with a line.
    """
    began = time.strftime("%H:%M:%S")
    if ray.wait(results, timeout=WAIT_SECONDS)[0]:
        return
    free, every = (
        int(resources.get("CPU", 0))
        for resources in (ray.available_resources(), ray.cluster_resources())
    )
    say(
        f"waiting for workers of the cluster since {began}: they are starting, or others use or "
        f"have reserved its processors, of which {free} of {every} are free ('ray status')"
    )
    ray.wait(results, timeout=None)


class _Driver:
    """An actor that drives the stream, beside this process.

    So this process may be a client of Ray, in which Ray Data does not run (seen in 2.60), and what
    Ray writes on the standard error of a driver goes to its logs.
    """

    def __init__(self, pool: Pool, folders: str) -> None:
        # Before Ray Data is imported, which reads it.
        os.environ["RAY_DATA_AUTOSCALING_REQUEST_EXPIRE_TIME_S"] = str(RESERVED_SECONDS)
        self._pool, self._folders, self._next = pool, folders, -1
        self._results: Iterator[bytes] = iter(())

    def result(self, number: int, work: _Work) -> bytes:
        """Return what is computed of a shard; the one before came last, unless it was restarted."""
        if number != self._next:
            self._results = self._run(number, work)
        self._next = number + 1
        return next(self._results)

    def end(self) -> None:
        """Give back what the stream has reserved."""
        self._results = iter(())

    def _run(self, first: int, work: _Work) -> Iterator[bytes]:
        import pyarrow as pa
        import ray
        from ray.data import ActorPoolStrategy, DataContext, from_arrow

        context, pool, shards = DataContext.get_current(), self._pool, work.shards - first
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        context.max_consecutive_actor_init_deaths = INIT_DEATHS
        context.target_max_block_size = 1  # bytes: every row is a block of its own
        start = {"reference": [work.computation], "threads": pool.cpus, "folders": self._folders}
        source: Any = from_arrow(pa.table({COLUMN: [first]}))
        results = source.map_batches(
            _cut,
            batch_size=None,
            batch_format="pyarrow",
            fn_kwargs={"work": work},
            num_cpus=0,
            scheduling_strategy=on_this_node(ray),
        ).map_batches(
            _Worker,
            batch_size=None,
            batch_format="pyarrow",
            fn_constructor_kwargs=start,
            compute=ActorPoolStrategy(
                min_size=1, max_size=shards, initial_size=min(pool.workers, shards)
            ),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus,
        )
        for block in results.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=IN_FLIGHT
        ):
            yield from block.column(COLUMN).to_pylist()


def _cut(block: Any, work: _Work) -> Iterator[Any]:
    """Yield all shards from one on, each as a block."""
    import pyarrow as pa
    import ray

    [first] = block.column(COLUMN).to_pylist()
    for number in range(first // work.each, len(work.parts)):
        items = pickle.loads(ray.get(work.parts[number]))
        skipped = max(0, first - number * work.each) * work.size
        for i in range(skipped, len(items), work.size):
            shard = pickle.dumps(items[i : i + work.size], protocol=5)
            yield pa.table({COLUMN: pa.array([shard], pa.large_binary())})


class _Worker:
    """An actor that holds one computation, ready."""

    def __init__(self, reference: list[Any], threads: int, folders: str) -> None:
        import ray

        os.environ[FOLDERS] = folders
        self._compute = pickle.loads(ray.get(reference[0])).start(threads)

    def __call__(self, block: Any) -> Any:
        import pyarrow as pa

        [shard] = block.column(COLUMN).to_pylist()
        try:
            result = self._compute(pickle.loads(shard))
        except TlearnError as error:
            result = error
        packed = pickle.dumps(result, protocol=5)
        return pa.table({COLUMN: pa.array([packed], pa.large_binary())})
