"""Trials of a search on a cluster: each is a task of Ray, over activations that are cached."""

import os
import pickle
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlearn.backbones.plugin_sources import FOLDERS
from tlearn.cache_folder import CACHE, cache_folder
from tlearn.cluster.ray_connection import connect
from tlearn.cluster.ray_stream import Pool, explaining
from tlearn.config import RunConfig
from tlearn.experiments.tuning_results import Trial
from tlearn.progress import Silent

if TYPE_CHECKING:
    from tlearn.experiments.tuning_trials import Evaluation


def parallel_trials(address: str) -> int:
    """Return how many trials a cluster trains at the same time; 1 without a cluster.

    Raises:
        ClusterError: If it cannot be reached.
    """
    return Pool.of(connect(address), gpus=True).workers if address else 1


def train_on_cluster(
    trials: Sequence[tuple[Trial, RunConfig]], evaluate: "Evaluation", address: str
) -> list[Trial]:
    """Train trials at the same time; return them with their figures, or why they failed.

    The cache of this process is used where a node has its folder, as on this machine or on NFS;
    elsewhere a node has its own, perhaps with a store behind it.

    Raises:
        ClusterError: If the cluster is lost.
    """
    ray = connect(address)
    pool = Pool.of(ray, gpus=True)
    task = ray.remote(num_cpus=pool.cpus, num_gpus=pool.gpus, max_retries=-1)(_train)
    places = {FOLDERS: os.environ.get(FOLDERS, ""), CACHE: str(cache_folder().resolve())}
    with explaining(address):
        reference = ray.put(pickle.dumps(replace(evaluate, progress=Silent())))
        each = [task.remote(reference, pickle.dumps(trial), places) for trial in trials]
        return [pickle.loads(trial) for trial in ray.get(each)]


def _train(evaluate: bytes, packed: bytes, places: dict[str, str]) -> bytes:
    """Train one trial in a worker."""
    os.environ[FOLDERS] = places[FOLDERS]
    if Path(places[CACHE]).is_dir():
        os.environ[CACHE] = places[CACHE]
    from tlearn.experiments.tuning_trials import train_trial

    trial, config = pickle.loads(packed)
    with tempfile.TemporaryDirectory() as folder:
        here: Any = replace(pickle.loads(evaluate), folder=Path(folder))
        return pickle.dumps(train_trial(trial, config, here))
