"""Shards of items through a pool of workers, as a stream of Ray Data.

A shard is one row of one block, so that it is one task: lost with a node, it is computed again from
its items, which the driver has. A worker is an actor of Ray that makes itself ready once. It
decodes and computes, so that its processors are never idle while other work waits for them, and no
pixels cross the network; and as no task but these asks for processors, the pool may take them all.
"""

import contextlib
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

from tlearn.backbones.plugin_sources import FOLDERS
from tlearn.cluster.nodes import working_nodes
from tlearn.cluster.ray_connection import connect
from tlearn.errors import ClusterError, TlearnError, one_line

T = TypeVar("T")
R = TypeVar("R")

MOST_ITEMS = 128  # of a shard: seconds of work, and little to lose
LEAST_ITEMS = 8  # of a shard, unless there are fewer
SHARDS_EACH = 4  # for each worker at least, so that all end at about the same time
MOST_CPUS = 4  # of a worker: with more its memory, mostly the network, is shared by more
WINDOW = 4096  # shards that Ray knows at a time
IN_FLIGHT = 2  # results on their way to this process
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

    Raises:
        ClusterError: If the cluster cannot compute, or is lost.
        TlearnError: What the computation raises.
    """
    ray = connect(address)
    pool = Pool.of(ray, gpus)
    size = -(-len(items) // (SHARDS_EACH * pool.workers))
    size = max(1, min(most, max(size, LEAST_ITEMS)))
    with explaining(address):
        computation_ref = ray.put(pickle.dumps(computation))
        for first in range(0, len(items), size * WINDOW):
            window = items[first : first + size * WINDOW]
            shards = [window[i : i + size] for i in range(0, len(window), size)]
            for shard, result in zip(shards, _results(shards, pool, computation_ref), strict=True):
                value = pickle.loads(result)
                if isinstance(value, TlearnError):
                    raise value
                yield shard, value


@dataclass(frozen=True)
class _Each:
    """A computation that calls a function with every item of a shard, in threads."""

    function: Callable[[Any], Any]
    threads: int

    def start(self, threads: int) -> Callable[[Sequence[Any]], list[Any]]:
        pool = ThreadPoolExecutor(self.threads or threads)
        return lambda shard: list(pool.map(self.function, shard))


def map_on_cluster(
    address: str, function: Callable[[T], R], items: Sequence[T], threads: int = 0
) -> Iterator[R]:
    """Yield ``function(item)`` in order, computed on a cluster; see :func:`stream`.

    Args:
        address: The cluster.
        function: One at the top of a module, or a partial of one.
        items: They are pickled.
        threads: Of a worker; as many as it has processors if 0.
    """
    for _, results in stream(address, _Each(function, threads), items):
        yield from results


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
        raise ClusterError(
            f"a worker of the cluster {address!r} failed: {type(cause).__name__}: "
            f"{one_line(cause)}; look at its logs, or run the command without --cluster"
        ) from error
    except (RayError, ConnectionError) as error:
        raise ClusterError(
            f"the cluster {address!r} failed: {one_line(error)}; look at 'ray status' and run the "
            f"command again: what was cached is not computed again"
        ) from error


def _results(shards: Sequence[Any], pool: Pool, computation: Any) -> Iterator[bytes]:
    """Yield what is computed of shards, pickled, in order."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Arguments of an actor itself must not be references, or Ray may not be able to restart it.
    references = [ray.put([pickle.dumps(shard) for shard in shards]), computation]
    node = ray.get_runtime_context().get_node_id()
    driver: Any = (
        ray.remote(_Driver)
        .options(
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=-1,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        .remote(pool, os.environ.get(FOLDERS, ""))
    )
    try:
        numbers = iter(range(len(shards)))
        waiting = deque(driver.result.remote(n, references) for n in islice(numbers, IN_FLIGHT))
        while waiting:
            yield ray.get(waiting.popleft())
            waiting.extend(driver.result.remote(n, references) for n in islice(numbers, 1))
    finally:
        ray.kill(driver)


class _Driver:
    """An actor that drives the stream, beside this process.

    So this process may be a client of Ray, in which Ray Data does not run (seen in 2.60), and what
    Ray writes on the standard error of a driver goes to its logs.
    """

    def __init__(self, pool: Pool, folders: str) -> None:
        self._pool, self._folders, self._next = pool, folders, -1
        self._results: Iterator[bytes] = iter(())

    def result(self, number: int, references: list[Any]) -> bytes:
        """Return what is computed of a shard; the one before came last, unless it was restarted.

        Args:
            number: Of the shard.
            references: To all shards, pickled, and to the computation.
        """
        if number != self._next:
            self._results = self._run(number, *references)
        self._next = number + 1
        return next(self._results)

    def _run(self, first: int, packed: Any, computation: Any) -> Iterator[bytes]:
        import pyarrow as pa
        import ray
        from ray.data import ActorPoolStrategy, DataContext, from_arrow

        context, pool = DataContext.get_current(), self._pool
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        context.max_consecutive_actor_init_deaths = INIT_DEATHS
        shards = ray.get(packed)[first:]
        start = {"reference": [computation], "threads": pool.cpus, "folders": self._folders}
        results: Any = from_arrow([pa.table({COLUMN: [shard]}) for shard in shards]).map_batches(
            _Worker,
            batch_size=None,
            batch_format="pyarrow",
            fn_constructor_kwargs=start,
            compute=ActorPoolStrategy(
                min_size=1, max_size=len(shards), initial_size=min(pool.workers, len(shards))
            ),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus,
        )
        for block in results.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=IN_FLIGHT
        ):
            yield from block.column(COLUMN).to_pylist()


class _Worker:
    """An actor that holds one computation, ready."""

    def __init__(self, reference: list[Any], threads: int, folders: str) -> None:
        import ray

        os.environ[FOLDERS] = folders
        self._compute = pickle.loads(ray.get(reference[0])).start(threads)

    def __call__(self, block: Any) -> Any:
        import pyarrow as pa

        results = []
        for shard in block.column(COLUMN).to_pylist():
            try:
                result = self._compute(pickle.loads(shard))
            except TlearnError as error:
                result = error
            results.append(pickle.dumps(result, protocol=5))
        return pa.table({COLUMN: pa.array(results, pa.large_binary())})
