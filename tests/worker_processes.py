"""Starts the workers of a training as processes on 127.0.0.1.

They are forked from one process that has imported TensorFlow, which takes longer than what most of
them do.
"""

import json
import multiprocessing
import os
import runpy
import sys

from serving import free_port

SECONDS = 240  # a process that hangs is killed after so many; an idle machine takes a twentieth
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    ["tlearn.cli.finetune", "tlearn.keras_import", "tlearn.training.network_training"]
)


def free_addresses(n):
    """Return addresses whose ports nobody uses."""
    return [f"127.0.0.1:{free_port()}" for _ in range(n)]


def tf_config(addresses, index):
    """Return what a launcher sets for one of the workers."""
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": addresses}, "task": task})


class Started:
    """A process that runs ``python COMMAND``, and what it wrote into two files."""

    def __init__(self, command, place, env):
        self.out, self.err = place / "out.txt", place / "err.txt"
        place.mkdir(parents=True, exist_ok=True)
        words = [str(word) for word in command]
        outputs = str(self.out), str(self.err)
        self.process = FORKED.Process(target=_run, args=(words, {**os.environ, **env}, outputs))
        self.process.start()

    def ended(self, seconds=SECONDS):
        """Wait; return the exit code, the output and the errors."""
        self.process.join(seconds)
        self.process.kill()
        self.process.join()
        return self.process.exitcode, self.out.read_text(), self.err.read_text()


def _run(words, env, outputs):
    for number, name in enumerate(outputs, start=1):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(env)
    module = words[0] == "-m"
    sys.argv = words[1:] if module else words
    run = runpy.run_module if module else runpy.run_path
    run(sys.argv[0], run_name="__main__", **({"alter_sys": True} if module else {}))


def start(n, command, place, **env):
    """Start ``python COMMAND`` as each of ``n`` workers, with caches below ``place``."""
    addresses = free_addresses(n)
    return [
        Started(
            command,
            place / f"worker {index}",
            {
                "TF_CONFIG": tf_config(addresses, index),
                "TLEARN_CACHE": str(place / f"cache {index}"),
                "TLEARN_WORKERS_TIMEOUT": "120",
                **env,
            },
        )
        for index in range(n)
    ]


def ended(processes):
    """Wait for processes; return the exit code, the output and the errors of each."""
    return [process.ended() for process in processes]
