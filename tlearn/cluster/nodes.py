"""The nodes of a cluster: what each is asked, and that all have the packages of this process."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tlearn.errors import ClusterError, one_line

R = TypeVar("R")

SECONDS = 120  # until a node that does not answer is given up
# Beside a backbone's own package: what numbers depend on, and what is sent from process to process.
PACKAGES = ("tlearn", "tensorflow", "keras", "openvino", "numpy", "pillow")


def working_nodes(ray: Any) -> dict[str, str]:
    """Return the host names of the nodes that have processors to work with, by node."""
    return {
        node["NodeID"]: node["NodeManagerHostname"]
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU")
    }


def on_node(node: str) -> Any:
    """Return how Ray is told to run a task or an actor on one node, or else not at all."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=False)


def on_this_node(ray: Any) -> Any:
    """Return the same for the node that this process is connected to."""
    return on_node(ray.get_runtime_context().get_node_id())


def on_each_node(ray: Any, function: Callable[[], R]) -> dict[str, R]:
    """Call a function on each node; return what it gives, by node.

    Args:
        ray: The module, connected.
        function: One that is sent as code, such as one defined in a function, or one of a package
            that the nodes have.

    Raises:
        ClusterError: If a node does not answer.
    """
    names = working_nodes(ray)
    if not names:
        raise ClusterError("the cluster has no processors: no node of it has any; add a node")
    task = ray.remote(num_cpus=0, max_retries=0)(lambda: function())
    answers = {node: task.options(scheduling_strategy=on_node(node)).remote() for node in names}
    results = {}
    for node, answer in answers.items():
        try:
            results[node] = ray.get(answer, timeout=SECONDS)
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"the node {names[node]!r} of the cluster does not work: "
                f"{one_line(error)}; look at 'ray status', or remove the node"
            ) from None
    return results


def check_packages(ray: Any, plugins: Mapping[str, str]) -> None:
    """Refuse a cluster whose nodes have other versions of Python or packages than this process.

    Args:
        ray: The module, connected.
        plugins: The packages of plugins that are needed there too, each with what it is needed for.

    Raises:
        ClusterError: If a node has another version, or lacks a package.
    """
    names = (*PACKAGES, *plugins)

    def facts() -> tuple[str, dict[str, str]]:
        import importlib.metadata
        import platform

        versions = {}
        for name in names:
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                versions[name] = ""
        return platform.python_version(), versions

    python, ours = facts()
    hosts = working_nodes(ray)
    for node, (their_python, theirs) in on_each_node(ray, facts).items():
        host = hosts.get(node, node)
        if their_python != python:
            raise ClusterError(
                f"the node {host!r} of the cluster has Python {their_python}, this process "
                f"{python}; use the same on all nodes"
            )
        for name, version in ours.items():
            if theirs[name] != version:
                have = theirs[name] or "none"
                what = f", which has {plugins[name]}" if name in plugins else ""
                command = f"pip install {name}=={version}" if version else f"pip uninstall {name}"
                raise ClusterError(
                    f"the node {host!r} of the cluster has {have} of the package {name!r}{what}, "
                    f"this process {version or 'none'}; run there: {command}"
                )
