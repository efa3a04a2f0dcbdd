"""A training by several workers of a Ray cluster: Ray Train starts them, and again if one ends.

The process of the command computes the activations with the whole cluster, as without workers, and
then waits. The workers are those of a training on several machines (``workers.py``), for which Ray
Train sets ``TF_CONFIG``; the first writes the run, where the process of the command reads how far
it is.
"""

import contextlib
import os
import pickle
import platform
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlearn.backbones.plugin_sources import FOLDERS
from tlearn.cache_folder import CACHE, cache_folder
from tlearn.cluster.nodes import on_this_node, working_nodes
from tlearn.cluster.ray_connection import connect
from tlearn.cluster.ray_stream import explaining, say_awaited
from tlearn.config import RunConfig
from tlearn.errors import ClusterError, ConfigError, TlearnError, hint_of, one_line
from tlearn.object_stores import StorePath
from tlearn.progress import Progress, Silent
from tlearn.runs.directory import CHECKPOINT, RunDirectory, resume_hint
from tlearn.runs.progress_log import PROGRESS, ProgressReader
from tlearn.runs.run_state import STOP, state_of
from tlearn.training.joint_training import beside_the_first
from tlearn.training.run_training import compute_activations, train
from tlearn.training.workers import TIMEOUT, MissingWorkerError, Workers

RECORDS = ".ray"  # of Ray Train, in the only folder that all nodes are known to have
RESTARTS = 5  # of all workers, after one of them has ended
POLL = 0.5  # seconds
LOCK_SECONDS = 120.0  # until a file system has released the lock of a node that was lost
STOP_SECONDS = 60.0  # until workers have ended that are asked to


def check_group(
    config: RunConfig, run: Path | StorePath, callbacks: Sequence[Any], train_step: Any
) -> None:
    """Refuse what workers of a cluster cannot have.

    Raises:
        ConfigError: If something was given that does not reach them.
    """
    if config.workers < 2:
        return
    if not config.cluster:
        raise ConfigError(
            f"{config.workers} workers are those of a cluster, and none is given; add one, as in "
            f"--cluster ray, or leave --workers out",
            "workers",
        )
    if os.environ.get("TF_CONFIG"):
        raise ConfigError(
            "TF_CONFIG and --workers both name the workers; leave TF_CONFIG empty where a cluster "
            "starts them",
            "workers",
        )
    if isinstance(run, StorePath):
        raise ConfigError(
            f"workers write the run in a folder that all nodes of the cluster have, and "
            f"{str(run)!r} is in a store; give another --out, or train with --workers 1",
            "workers",
        )
    if callbacks or train_step is not None:
        raise ConfigError(
            "callbacks and training steps of Python do not reach workers on a cluster; give them "
            "in a file, as callbacks='callbacks.py'",
            "workers",
        )


def train_on_cluster(run: RunDirectory, shown: Progress) -> None:
    """Have workers of the cluster do what :func:`tlearn.training.run_training.train` does.

    Raises:
        ClusterError: If the cluster does not have so many processors, or workers end again and
            again.
        TlearnError: As a training by one process.
        KeyboardInterrupt: If it was stopped.
    """
    config = run.request().config
    ray = connect(config.cluster)
    resources = resources_each(ray, config.workers)
    compute_activations(run, shown)
    environment = {name: os.environ.get(name, "") for name in (FOLDERS, TIMEOUT)}
    cache = str(cache_folder().resolve())
    (run / PROGRESS).unlink(missing_ok=True)  # what was shown already
    shutil.rmtree(run / RECORDS, ignore_errors=True)  # of a process that was killed
    job = _Job(str(run.path.absolute()), environment, cache, config.workers, resources)
    with explaining(config.cluster):
        group = _group_actor(ray)
        try:
            outcome = _wait(ray, run, shown, group, group.fit.remote(group, pickle.dumps(job)))
        finally:
            ray.kill(group)
            shutil.rmtree(run / RECORDS, ignore_errors=True)
    if outcome is None:
        return
    if not hint_of(outcome) and (run / CHECKPOINT).is_file():
        outcome.add_note(resume_hint(run.path))
    if isinstance(outcome, Exception) and state_of(run.path) == "interrupted":
        run.event("failed", error=one_line(outcome, 1000), hint=hint_of(outcome))
    raise outcome


def resources_each(ray: Any, workers: int) -> dict[str, int]:
    """Return how many processors and GPUs each of so many workers of a cluster can have at most.

    Args:
        ray: The module, connected.
        workers: How many there are.

    Raises:
        ClusterError: If there are fewer processors.
    """
    nodes = working_nodes(ray)
    sizes = [node["Resources"] for node in ray.nodes() if node["NodeID"] in nodes]

    def most(name: str, others: int = 0) -> int:
        """Return the largest share of which there are enough; ``others`` GPUs go with it."""
        for share in range(int(max(size.get(name, 0) for size in sizes)), 0, -1):
            counts = [
                min(
                    size.get(name, 0) // share,
                    size.get("GPU", 0) // others if others else workers,
                )
                for size in sizes
            ]
            if sum(counts) >= workers:
                return share
        return 0

    gpus = most("GPU")
    cpus = most("CPU", gpus)
    if not cpus:
        total = int(sum(size["CPU"] for size in sizes))
        raise ClusterError(
            f"the cluster has {total} processors, and {workers} workers need one each; give fewer "
            f"--workers, or add nodes",
            "workers",
        )
    return {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}


@dataclass(frozen=True)
class _Job:
    """What workers are started with.

    Attributes:
        run: The run directory.
        environment: Variables of the process of the command.
        cache: Its cache, which workers use where they have the folder.
        workers: How many there are at most: fewer where nodes are lost.
        resources: What each takes.
    """

    run: str
    environment: dict[str, str]
    cache: str
    workers: int
    resources: dict[str, int]


def _group_actor(ray: Any) -> Any:
    """Start an actor beside this process, which may be a client of Ray, for the workers."""
    actor = ray.remote(_Group).options(
        num_cpus=0, max_concurrency=64, scheduling_strategy=on_this_node(ray)
    )
    return actor.remote()


def _wait(ray: Any, run: RunDirectory, shown: Progress, group: Any, answer: Any) -> Any:
    """Show progress until the workers have ended; return why they ended early."""
    try:
        say_awaited(ray, [group.begun.remote(), answer], shown.say)
        with contextlib.closing(ProgressReader(run.path, shown)) as progress:
            while not ray.wait([answer], timeout=POLL)[0]:
                progress.show()
            progress.show()
    except KeyboardInterrupt:
        (run / STOP).touch()
        ray.wait([answer], timeout=STOP_SECONDS)
        (run / STOP).unlink(missing_ok=True)
        if (run / CHECKPOINT).is_file():
            shown.say(resume_hint(run.path))
        raise
    return pickle.loads(ray.get(answer))


class _Group:
    """An actor that has Ray Train run the workers, and is told by them of errors that stay."""

    def __init__(self) -> None:
        self._outcome: bytes = b""
        self._begun = threading.Event()

    def fit(self, group: Any, packed: bytes) -> bytes:
        """Have the workers train; return why they ended early, pickled ``None`` if they did not."""
        from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.tensorflow import TensorflowTrainer

        job: _Job = pickle.loads(packed)
        os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
        number: Any = (1, job.workers)  # of workers, which the annotations of Ray do not have
        trainer = TensorflowTrainer(
            _train,
            train_loop_config={"group": group, "job": packed},
            scaling_config=ScalingConfig(
                num_workers=number,
                use_gpu="GPU" in job.resources,
                resources_per_worker=job.resources,
                placement_strategy="SPREAD",
            ),
            run_config=RunConfig(
                storage_path=str(Path(job.run) / RECORDS),
                name="train",
                failure_config=FailureConfig(max_failures=RESTARTS),
            ),
        )
        try:
            trainer.fit()
        except TrainingFailedError as error:
            return self._outcome or pickle.dumps(_repeated(error))
        return self._outcome or pickle.dumps(None)

    def end(self, outcome: bytes) -> None:
        """Take why the training cannot go on; workers that are started again end at once."""
        self._outcome = self._outcome or outcome

    def begun(self) -> None:
        """Wait until a worker has been started."""
        self._begun.wait()

    def has_ended(self) -> bool:
        """Return whether the training cannot go on, to a worker that was started."""
        self._begun.set()
        return bool(self._outcome)


def _repeated(error: Any) -> ClusterError:
    """Return the error to show where workers ended more often than they are started again."""
    numbers = sorted(getattr(error, "worker_failures", {}))  # beside pages about Ray's objects
    which = ", ".join(f"worker {number}" for number in numbers) or one_line(error)
    return ClusterError(
        f"workers of the cluster ended {RESTARTS + 1} times, the last time {which}; look at "
        f"'ray status' and the logs of Ray, perhaps for a lack of memory"
    )


def _train(settings: dict[str, Any]) -> None:
    """Train as one of the workers, in a process that Ray Train has started.

    An error that would come again ends the training; where a worker was lost, or is killed, Ray
    Train starts all of them again.
    """
    import ray

    group, job = settings["group"], pickle.loads(settings["job"])
    if ray.get(group.has_ended.remote()) or state_of(Path(job.run)) == "finished":
        return
    try:
        _train_run(job)
    except MissingWorkerError:
        raise
    except KeyboardInterrupt:
        ray.get(group.end.remote(pickle.dumps(KeyboardInterrupt())))
        raise
    except TlearnError as error:
        ray.get(group.end.remote(pickle.dumps(error)))
        raise
    except Exception as error:
        outcome = ClusterError(f"a worker failed: {type(error).__name__}: {one_line(error)}")
        ray.get(group.end.remote(pickle.dumps(outcome)))
        raise


def _train_run(job: _Job) -> None:
    """Train the run of a job, beside the first worker or as that.

    Raises:
        ClusterError: If this node does not have the run directory.
    """
    os.environ.pop("TF_USE_LEGACY_KERAS", None)  # Ray Train asks for Keras 2
    os.environ |= {name: text for name, text in job.environment.items() if text}
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(job.resources["CPU"])
    if Path(job.cache).is_dir():
        os.environ[CACHE] = job.cache
    run = RunDirectory(Path(job.run))
    if not (run / "run.yaml").is_file():
        raise ClusterError(
            f"the node {platform.node()!r} of the cluster does not have the folder of the run, "
            f"{job.run!r}; give an --out that all nodes have, as on NFS"
        )
    workers = Workers.from_environment()
    if workers and workers.index:
        with beside_the_first(workers, None, None) as (own, _):
            train(own, Silent(), workers=workers, with_cluster=False)
        return
    deadline = time.monotonic() + LOCK_SECONDS
    while state_of(run.path) == "running" and time.monotonic() < deadline:
        time.sleep(POLL)
    train(run, Silent(), workers=workers, with_cluster=False)
