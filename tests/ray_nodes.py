"""A Ray cluster on this machine."""

import contextlib

import pytest

from tlearn.cluster import ray_connection

STORE = 100 * 2**20  # bytes of the object store of a node


@contextlib.contextmanager
def two_nodes(variables, **head):
    """Start two nodes of one processor each; this process is connected to the first.

    ``variables`` are those of the environment of all, ``head`` what the first is started with.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ray_connection.QUIET, **variables}.items():
            patch.setenv(name, value)
        import ray
        from ray.cluster_utils import Cluster

        node = {"num_cpus": 1, "object_store_memory": STORE}
        cluster = Cluster(initialize_head=True, head_node_args=node | head)
        try:
            cluster.add_node(**node)
            ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
