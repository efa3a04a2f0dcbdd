"""Connecting to a Ray cluster, in bounded time and quietly."""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from tlearn.errors import ClusterError, ConfigError, one_line

LOCAL = "ray"  # the address of a cluster of this machine alone
SECONDS = 10  # until an address that does not answer is given up
OBJECT_STORE = 2**30  # bytes of shared memory at most that a cluster of this machine takes
ADVICE = (
    "start it with 'ray start --head', set RAY_AUTH_MODE=token if it asks for tokens, or use "
    "--cluster ray for a cluster of this machine"
)
# Read when Ray is imported: no statistics to its makers, and no lines of its own on the terminal,
# such as that it computes again what was lost with a node.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

_connected = False  # whether this module connected the process


def connect(address: str) -> Any:
    """Return Ray's module, connected to a cluster; a connection that there is stays.

    Args:
        address: As of :class:`tlearn.config.RunConfig`.

    Raises:
        ConfigError: If Ray is not installed.
        ClusterError: If there is no cluster, or of another version of Ray or Python.
    """
    global _connected
    if find_spec("ray") is None:
        raise ConfigError("a cluster needs Ray: pip install 'tlearn[ray]'", "cluster")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    if _is_connected():
        return ray
    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        import psutil

        store = min(OBJECT_STORE, psutil.virtual_memory().available // 4)
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": store}
    else:
        _check_answering(address)
        options["address"] = address.replace("ray://auto", "auto")
    try:
        with _own_signals(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that it failed, which is raised, too
            ray.init(**options)
    # Ray raises what its layers please: of gRPC, of the system, of its own.
    except Exception as error:  # noqa: BLE001
        raise ClusterError(
            f"no connection to the cluster {address!r}: {one_line(error)}; {ADVICE}", "cluster"
        ) from None
    _connected = True
    return ray


def _is_connected() -> bool:
    return bool(sys.modules["ray"].is_initialized())


def disconnect() -> None:
    """End the connection that :func:`connect` made, and with it a cluster of this machine."""
    global _connected
    if _connected:
        _connected = False
        sys.modules["ray"].shutdown()


@contextlib.contextmanager
def disconnecting() -> Iterator[None]:
    """Disconnect afterwards."""
    try:
        yield
    finally:
        disconnect()


def _check_answering(address: str) -> None:
    """Refuse an address where nothing listens, or something else; Ray would try for minutes.

    Raises:
        ClusterError: If no cluster answers.
    """
    place = address.removeprefix("ray://")
    if place == "auto":
        return
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"the cluster {address!r} cannot be reached ({error.strerror or error}); {ADVICE}",
            "cluster",
        ) from None
    if os.environ.get("RAY_USE_TLS") == "1":  # Ray itself has the certificates
        return
    import grpc

    channel = grpc.insecure_channel(place, [("grpc.enable_http_proxy", 0)])
    try:
        grpc.channel_ready_future(channel).result(SECONDS)
    except grpc.FutureTimeoutError:
        raise ClusterError(
            f"what answers at the cluster's address {address!r} is not Ray; {ADVICE}", "cluster"
        ) from None
    finally:
        channel.close()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the handler of SIGTERM, which Ray replaces by one that ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
