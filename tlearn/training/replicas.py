"""Several devices and workers that train one network, each on a part of every batch.

TensorFlow's strategies add up over all of them (``MirroredStrategy`` within a machine,
``MultiWorkerMirroredStrategy`` between machines, chosen by :meth:`Replicas.of`). The variables are
ordinary ones: every worker has its own, and as all do the same with the same sums, they stay equal.
Within a machine they are on its first device, from which the others read what is trained; that is
little, because what is frozen was computed before.
"""

import contextlib
import importlib
import json
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tlearn.errors import ConfigError, RunError, one_line
from tlearn.keras_import import tensorflow
from tlearn.training.workers import MissingWorkerError, Workers, timeout

CONNECT_SECONDS = 60.0  # at most, for workers that have just met
STEP = 1_000_003  # between the random numbers of two workers


@dataclass(frozen=True)
class Replicas:
    """What trains a network together: by default one device of one machine.

    Attributes:
        strategy: TensorFlow's; ``None`` for a single device.
        workers: The workers; ``None`` for a single one.
    """

    strategy: Any = None
    workers: Workers | None = None

    @classmethod
    def of(cls, workers: Workers | None) -> "Replicas":
        """Return all devices of all workers; call it before TensorFlow computes anything.

        The devices of a machine are its GPUs, if it has any, else its CPU, unless that was split
        into several logical devices.

        Raises:
            RunError: If workers cannot be connected.
        """
        if workers is not None:
            return cls(_connected(workers), workers)
        kinds = map(tensorflow.config.list_logical_devices, ("GPU", "CPU"))
        names = [device.name for device in next(filter(None, kinds))]
        if len(names) == 1:
            return cls()
        reduction = tensorflow.distribute.ReductionToOneDevice()  # where the variables are
        return cls(tensorflow.distribute.MirroredStrategy(names, reduction))

    @property
    def number(self) -> int:
        """How many replicas there are."""
        return int(self.strategy.num_replicas_in_sync) if self.strategy else 1

    @property
    def first(self) -> bool:
        """Whether this is the worker that writes the run."""
        return self.workers is None or self.workers.index == 0

    def check_batch(self, size: int, title: str) -> None:
        """Refuse batches of fewer images than there are replicas.

        Raises:
            ConfigError: If those of the stage ``title`` are.
        """
        if size < self.number:
            raise ConfigError(
                f"the stage {title!r} has batches of {size}, and {self.number} devices train on a "
                f"part of each; give it a larger batch_size, or train on fewer devices",
                "stages",
            )

    def own(self, n: int) -> slice:
        """Return which of ``n`` images, in the order of a batch, are those of this worker."""
        if self.workers is None:
            return slice(0, n)
        count, index = len(self.workers.addresses), self.workers.index
        return slice(n * index // count, n * (index + 1) // count)

    def any(self, flag: bool) -> bool:
        """Return whether it is so for any worker; all get the same answer."""
        return bool(self._total(np.array([flag], np.int32))[0]) if self.workers else flag

    def rows(self, own: np.ndarray, n: int) -> np.ndarray:
        """Return the float32 rows of all workers, ``(n, ...)``; each gives those of :meth:`own`."""
        if self.workers is None:
            return own
        every = np.zeros((n, *own.shape[1:]), np.float32)
        every[self.own(n)] = own
        return self._total(every.reshape(-1).view(np.int32)).view(np.float32).reshape(every.shape)

    def sent_by(self, number: int, data: bytes) -> bytes:
        """Return what a worker gives as ``data``; what the others give does not matter."""
        if self.workers is None:
            return data
        data = data if self.workers.index == number else b""
        size = int(self._total(np.array([len(data)], np.int32))[0])
        words = np.zeros(-(-size // 4), np.int32)
        words.view(np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
        return self._total(words).tobytes()[:size]

    @cached_property
    def _total(self) -> Callable[[np.ndarray], np.ndarray]:
        """A function that adds up int32 vectors of all workers, which have one length.

        It moves any data where all but one of the workers give zeros.
        """
        strategy, distribute = self.strategy, tensorflow.distribute
        devices = len(strategy.extended.worker_devices)

        def part(x: Any) -> Any:
            context = distribute.get_replica_context()
            number = tensorflow.cast(context.replica_id_in_sync_group, tensorflow.int32)
            x = tensorflow.where(number % devices == 0, x, 0)  # once for all devices of a worker
            return context.all_reduce(distribute.ReduceOp.SUM, x)

        def total(x: Any) -> Any:
            return strategy.experimental_local_results(strategy.run(part, args=(x,)))[0]

        vector = tensorflow.TensorSpec([None], tensorflow.int32)
        traced = tensorflow.function(total, input_signature=[vector])
        return lambda x: np.asarray(traced(tensorflow.convert_to_tensor(x)))

    def check_same(self, **facts: str) -> None:
        """Refuse workers that differ in something: its name, and what stands for it.

        Raises:
            RunError: If they do; all workers raise it.
        """
        if self.workers is None:
            return
        own = json.dumps(facts).encode()
        every = [json.loads(self.sent_by(k, own)) for k in range(len(self.workers.addresses))]
        for number, theirs in enumerate(every):
            for name, value in every[0].items():
                if theirs[name] != value:
                    raise RunError(
                        f"{self.workers.name(number)} has other {name} than "
                        f"{self.workers.name(0)}; give all workers the same"
                    )

    def varied(self, seeds: list[np.ndarray]) -> list[np.ndarray]:
        """Return states of random numbers for this worker: dropout differs between them."""
        step = STEP * self.workers.index if self.workers else 0
        return [seed + seed.dtype.type(step) for seed in seeds]


def _connected(workers: Workers) -> Any:
    """Have TensorFlow connect the workers; return its strategy.

    It takes the place of what the process does about SIGTERM.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        with _bounded(min(timeout(), CONNECT_SECONDS)):
            strategy = tensorflow.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, ValueError, tensorflow.errors.OpError) as error:
        raise MissingWorkerError.of(workers, one_line(error)) from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)
    return strategy


@contextlib.contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    """Bound the time that TensorFlow waits for workers that it is to connect.

    Otherwise it waits without end for one that has ended since they met, and lets no Python run
    meanwhile. It has the settings for this, and no public function that sets them.
    """
    context = importlib.import_module("tensorflow.python.eager.context").context()
    configure = context.configure_coordination_service

    def bounded(**options: Any) -> None:
        configure(**options, cluster_register_timeout_in_ms=int(1000 * seconds))
        context.coordination_service.cluster_register_with_barrier = True

    context.configure_coordination_service = bounded
    try:
        yield
    finally:
        context.configure_coordination_service = configure
