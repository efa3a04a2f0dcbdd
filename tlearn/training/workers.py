"""The workers of a training on several machines, and that they are about to do the same.

A launcher starts one process per machine, with the same command and with ``TF_CONFIG`` as
TensorFlow has it, of which only the index differs:

    {"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}

Before TensorFlow connects them, all workers report to the first one, at its own address, with one
line of JSON each, and get one back: it compares versions and configurations, which TensorFlow does
not, and names who is missing. These connections stay: the system closes those of a process that
ends, so that the first can say who it was, which TensorFlow cannot.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tlearn.errors import ConfigError, RunError, one_line
from tlearn.training.worker_links import Link
from tlearn.training.worker_records import difference

TIMEOUT = "TLEARN_WORKERS_TIMEOUT"  # environment variable: seconds
SECONDS = 300.0  # until all workers have to be there, if that is not set
PAUSE = 0.2  # seconds until the first worker is called again
END_SECONDS = 2.0  # until the system has closed the connections of a process that was killed
EXAMPLE = (
    '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}, of '
    "which each worker has its own index"
)


@dataclass(frozen=True)
class Workers:
    """The workers of a training, as one of them knows them.

    Attributes:
        index: The number of this one, from 0; the first writes the run.
        addresses: ``HOST:PORT`` of each.
    """

    index: int
    addresses: tuple[str, ...]
    _links: dict[int, Link] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_environment(cls) -> "Workers | None":
        """Return the workers that ``TF_CONFIG`` names; ``None`` if this process is alone.

        Raises:
            ConfigError: If it cannot be used.
        """
        text = os.environ.get("TF_CONFIG", "").strip()
        if not text:
            return None
        try:
            given = json.loads(text)
        except ValueError as error:
            raise _refused(f"is no JSON ({one_line(error)})") from None
        try:
            cluster, task = given.get("cluster") or {}, given.get("task") or {}
            jobs = {name: list(addresses) for name, addresses in cluster.items()}
            kind, index = task.get("type", "worker"), task.get("index", 0)
        except (AttributeError, TypeError):
            raise _refused("has another form") from None
        if unknown := sorted(jobs.keys() - {"chief", "worker"}):
            raise _refused(f"names the job {unknown[0]!r}, and there are only workers")
        addresses = [*jobs.get("chief", ()), *jobs.get("worker", ())]
        for address in addresses:
            _host_and_port(address)
        if len(set(addresses)) < len(addresses):
            raise _refused("names an address twice")
        if not addresses:
            return None
        own = jobs.get(kind, [])
        if type(index) is not int or not 0 <= index < len(own):
            raise _refused(f"has the task {kind} {index!r}, and there are {len(own)} of that type")
        number = addresses.index(own[index])
        return cls(number, tuple(addresses)) if len(addresses) > 1 else None

    def name(self, number: int) -> str:
        """Return how messages call a worker."""
        return f"worker {number} ({self.addresses[number]})"

    def names(self, numbers: Iterable[int]) -> str:
        """Return how messages call several workers."""
        return ", ".join(map(self.name, sorted(numbers)))

    def meet(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """Wait until all workers are there; return the record of the first.

        Args:
            own: The record of this one, which JSON can hold. Its ``versions`` must be those of the
                first, and so must its ``config``, if both have one.

        Raises:
            RunError: If a worker is missing for longer than :data:`TIMEOUT` allows, or was started
                with something else. All workers raise it.
        """
        record = {**own, "index": self.index, "workers": list(self.addresses)}
        deadline = time.monotonic() + timeout()
        return self._meet_others(record, deadline) if self.index else self._wait(record, deadline)

    def ended(self) -> str:
        """Return the names of the workers that have ended, as the first knows it; perhaps none.

        To be called once, when the workers cannot go on: the first tells the others, which wait.
        """
        if self.index:
            try:
                numbers = self._links[0].receive()["ended"]
            except TimeoutError:
                numbers = []
            except (OSError, ValueError, KeyError):  # it closed the connection
                numbers = [0]
        else:
            deadline, numbers = time.monotonic() + END_SECONDS, []
            while not numbers and time.monotonic() < deadline:
                numbers = [number for number, link in self._links.items() if link.has_ended()]
                time.sleep(PAUSE)
            for link in self._links.values():
                with contextlib.suppress(OSError):
                    link.send({"ended": numbers})
        self.close()
        return self.names(numbers)

    def close(self) -> None:
        """Close the connections to the other workers."""
        while self._links:
            self._links.popitem()[1].close()

    def _wait(self, record: dict[str, Any], deadline: float) -> dict[str, Any]:
        """Wait, as the first worker, for the others, and answer all of them."""
        records: dict[int, dict[str, Any]] = {}
        try:
            server = socket.create_server(("", _host_and_port(self.addresses[0])[1]))
        except OSError as error:
            raise RunError(
                f"the port of {self.name(0)} cannot be used: {error.strerror}; give another "
                f"in the TF_CONFIG of all workers"
            ) from None
        with server:
            while len(records) < len(self.addresses) - 1 and time.monotonic() < deadline:
                server.settimeout(max(0.01, deadline - time.monotonic()))
                with contextlib.suppress(OSError, ValueError, KeyError):  # a stranger's call
                    self._accept(server, records)
        problem = self._problem(record, records)
        for link in self._links.values():
            with contextlib.suppress(OSError):
                link.send({"problem": problem, "record": record})
        if problem:
            self.close()
            raise RunError(problem)
        return record

    def _problem(self, own: dict[str, Any], records: dict[int, dict[str, Any]]) -> str:
        """Return why these workers cannot train together; nothing if they can."""
        if missing := set(range(1, len(self.addresses))) - records.keys():
            return self._missing(missing)
        if ended := [number for number, link in self._links.items() if link.has_ended()]:
            return f"{self.names(ended)} has ended before all were there; see what it printed"
        for other in records.values():
            if found := difference(own, other):
                what, theirs, mine = found
                return (
                    f"{self.name(int(other['index']))} has another {what} than {self.name(0)}: "
                    f"{theirs}, not {mine}; start all workers with the same command and the same "
                    f"versions"
                )
        return ""

    def _accept(self, server: socket.socket, records: dict[int, dict[str, Any]]) -> None:
        """Take a call; one that comes from a worker becomes its link."""
        link = Link(server.accept()[0])
        try:
            other = link.receive()
            number = range(1, len(self.addresses))[int(other["index"]) - 1]
            if number in self._links:  # it was started again
                self._links[number].close()
            self._links[number], records[number] = link, other
        except BaseException:
            link.close()
            raise

    def _meet_others(self, record: dict[str, Any], deadline: float) -> dict[str, Any]:
        """Call the first worker until it answers."""
        while time.monotonic() < deadline:
            left = deadline - time.monotonic()
            with contextlib.suppress(OSError, ValueError, KeyError):
                address = _host_and_port(self.addresses[0])
                link = Link(socket.create_connection(address, left))
                try:
                    link.send(record)
                    answer = link.receive(left + 1)
                    problem, first = str(answer["problem"]), dict(answer["record"])
                except BaseException:
                    link.close()
                    raise
                if problem:
                    link.close()
                    raise RunError(problem)
                self._links[0] = link
                return first
            time.sleep(PAUSE)
        raise RunError(self._missing([0]))

    def _missing(self, numbers: Iterable[int]) -> str:
        """Return what to say of workers that did not come."""
        return (
            f"{self.names(numbers)} did not answer within {timeout():g} s; see what it printed, "
            f"and whether its address can be reached from here ({TIMEOUT} sets the time)"
        )


class MissingWorkerError(RunError):
    """Another worker has ended: the training can go on once all are started again."""

    @classmethod
    def of(cls, workers: Workers, reason: str = "") -> "MissingWorkerError":
        """Return it with the names of those that have ended, if they are known.

        Args:
            workers: All workers.
            reason: What TensorFlow says, for where they are not.
        """
        names = workers.ended()
        what = f"{names} has ended" if names else "another worker has ended or cannot be reached"
        what += f" ({reason})" if reason and not names else ""
        return cls(
            f"{what}, so {workers.name(workers.index)} ends too; see what it printed, and start "
            f"all workers again, with --resume RUN where there is a run by now"
        )


def timeout() -> float:
    """Return how many seconds workers wait for each other when they start.

    Raises:
        ConfigError: If the environment holds no positive number for it.
    """
    text = os.environ.get(TIMEOUT, "") or str(SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise ConfigError(f"{TIMEOUT} takes a number of seconds, such as 300. Received: {text!r}")
    return seconds


def _refused(reason: str) -> ConfigError:
    return ConfigError(f"TF_CONFIG {reason}; it takes {EXAMPLE}")


def _host_and_port(address: Any) -> tuple[str, int]:
    host, colon, port = str(address).rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 2**16):
        raise _refused(f"names the address {address!r}, which is no HOST:PORT")
    return host.strip("[]"), int(port)
