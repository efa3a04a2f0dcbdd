"""Starts the workers of a training as processes on 127.0.0.1."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack

SECONDS = 240  # a process that hangs is killed after so many; an idle machine takes a twentieth


def free_addresses(n):
    """Return addresses whose ports nobody uses."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


def tf_config(addresses, index):
    """Return what a launcher sets for one of the workers."""
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": addresses}, "task": task})


def start(n, command, place, **env):
    """Start ``python COMMAND`` as each of ``n`` workers, with caches below ``place``."""
    addresses = free_addresses(n)
    return [
        subprocess.Popen(
            [sys.executable, *map(str, command)],
            env={
                **os.environ,
                "TF_CONFIG": tf_config(addresses, index),
                "TLEARN_CACHE": str(place / f"cache {index}"),
                "TLEARN_WORKERS_TIMEOUT": "120",
                **env,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(n)
    ]


def ended(processes):
    """Wait for processes; return the exit code, the output and the errors of each."""
    try:
        texts = [process.communicate(timeout=SECONDS) for process in processes]
        return [(process.returncode, *text) for process, text in zip(processes, texts, strict=True)]
    finally:
        for process in processes:
            process.kill()
