"""An engine on a cluster: images are decoded and computed in workers there, shard by shard."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from tlearn.backbones import load_registry
from tlearn.backbones.plugin_sources import OURS
from tlearn.cluster.nodes import check_packages, on_each_node, working_nodes
from tlearn.cluster.ray_connection import connect
from tlearn.cluster.ray_stream import MOST_ITEMS, stream
from tlearn.data.prefetch import READERS, batched, prefetch_map
from tlearn.errors import ClusterError, DataError
from tlearn.features.engines import Choice, choose, cpu_has_bfloat16
from tlearn.features.engines.portable import PortableNetwork

Rendering = (
    Sequence[np.ndarray] | np.ndarray | DataError
)  # the views of an image, or why there are none
Finish = Callable[[Any, list[np.ndarray]], Any]
Counts = list[int | DataError]
LARGEST = 2**26  # bytes of the outputs of a shard, about


@dataclass(frozen=True)
class ClusterEngine:
    """Computes a network over images on a cluster.

    Attributes:
        address: The cluster, as of :class:`tlearn.config.RunConfig`.
        network: The network; ``None`` if pixels are all that is wanted.
        with_pixels: Whether the rendered pixels are the first output.
        split: Makes of items what is rendered, such as an image of its views; nothing if not given.
        finish: Makes ready in a worker what makes of some items and their outputs what is returned;
            the outputs as they are if not given. It is pickled.
    """

    address: str
    network: PortableNetwork | None
    with_pixels: bool = False
    split: Callable[[Any], Iterable[Any]] = iter
    finish: Callable[[], Finish] | None = None

    def map(
        self,
        render: Callable[[Any], Rendering],
        items: Sequence[Any],
        item_bytes: int = 0,
        in_store: bool = False,
        most: int = MOST_ITEMS,
        say: Callable[[str], None] | None = None,
    ) -> Iterator[tuple[Any, Counts, Any]]:
        """Yield, in order, a slice of the items, how many views each has, and their outputs.

        Args:
            render: Gives the views of an item, each ``(size, size, 3)`` uint8, or why there are
                none, which comes instead of their number; it is pickled, and so are the items.
            items: What images are made from, such as their paths, which workers must have too.
            item_bytes: What the outputs of an item take, about.
            in_store: Whether images are read from an object store, where reading is waiting.
            most: Items of a slice at most.
            say: As of :func:`tlearn.cluster.ray_stream.stream`.

        Raises:
            ClusterError: If the cluster cannot compute, or is lost.
            TlearnError: That ``render`` raises.
        """
        computation = _Computation(self, render, in_store)
        most = max(1, min(most, LARGEST // max(1, item_bytes)))
        gpus = self.network is not None and self.network.choice.engine == "tensorflow"
        for shard, (counts, outputs) in stream(self.address, computation, items, most, gpus, say):
            yield shard, counts, outputs


@dataclass(frozen=True)
class _Computation:
    """What a worker does with a shard; see :class:`tlearn.cluster.ray_stream.Computation`."""

    engine: ClusterEngine
    render: Callable[[Any], Rendering]
    in_store: bool

    def start(self, threads: int) -> Callable[[Sequence[Any]], tuple[Counts, Any]]:
        wanted, network = self.engine, self.engine.network
        engine = network.engine(threads) if network else None
        finish = wanted.finish() if wanted.finish else lambda shard, outputs: outputs
        size = engine.batch if engine else MOST_ITEMS
        reading = READERS if self.in_store else threads

        def compute(shard: Sequence[Any]) -> tuple[Counts, Any]:
            counts: Counts = []

            def views() -> Iterator[np.ndarray]:
                for rendered in prefetch_map(self.render, wanted.split(shard), threads=reading):
                    problem = isinstance(rendered, DataError)
                    counts.append(rendered if problem else len(rendered))  # type: ignore[arg-type]
                    yield from () if isinstance(rendered, DataError) else rendered

            batches = ((batch, batch) for batch in batched(views(), size))
            parts = [
                [*([np.stack(pixels)] if wanted.with_pixels else []), *outputs]
                for pixels, outputs in (
                    engine.map(batches) if engine else ((b, []) for b, _ in batches)
                )
            ]
            outputs = [np.concatenate(rows) for rows in zip(*parts, strict=True)]
            return counts, finish(shard, outputs)

        return compute


def check_cluster(
    address: str, backbones: Sequence[str], engine: str = "auto", precision: str = "auto"
) -> None:
    """Refuse a cluster that cannot compute what this process would, before any work.

    Args:
        address: The cluster; nothing is done if it is empty.
        backbones: Names of those whose plugins must be installed there, too.
        engine: As asked for.
        precision: As asked for.

    Raises:
        ConfigError: If Ray is not installed, or this machine cannot compute so itself.
        ClusterError: If there is no cluster, or one of its nodes has other packages.
    """
    if address:
        ray = connect(address)
        session = ray.get_runtime_context().get_job_id()
        _check_nodes(session, tuple(backbones), choose(engine, precision))


@lru_cache(maxsize=32)
def _check_nodes(session: str, backbones: Sequence[str], choice: Choice) -> None:
    """Check the nodes, once in a session."""
    ray, registry = connect(""), load_registry()
    plugins = {
        plugin.distribution: f"the backbone {name!r}"
        for name in backbones
        if name in registry.backbones and (plugin := registry.plugin_of(name)).version
        if plugin.distribution != OURS
    }
    check_packages(ray, plugins)
    if choice.precision != "bfloat16" or choice.engine != "openvino":
        return
    hosts = working_nodes(ray)
    for node, able in on_each_node(ray, cpu_has_bfloat16).items():
        if not able:
            raise ClusterError(
                f"the node {hosts.get(node, node)!r} of the cluster does not compute in bfloat16, "
                f"as this machine does; use --precision float32"
            )
