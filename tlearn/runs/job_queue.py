"""Trainings that wait for each other: the run directories of a folder that are queued.

    queue = JobQueue(Path("runs"))
    run = queue.submit(Path("photos"), RunConfig(), "photos")

A run directory that is ``queued`` is a request for a training, and nothing else stores one. One
runner, a small process of its own (``python -m tlearn.runs.job_queue RUNS``), trains them one after
the other. It outlives the process that started it, waits for trainings started otherwise, and ends
when none is queued.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

from filelock import FileLock, Timeout

from tlearn.config import RunConfig
from tlearn.errors import RunError
from tlearn.priority import TRAINING, lower_priority
from tlearn.progress import format_bytes
from tlearn.runs.continued_run import continued
from tlearn.runs.directory import RunDirectory, check_trainable
from tlearn.runs.run_state import STOP, last_change, state_of
from tlearn.runs.run_store import RunStore, RunSummary

RUNNER_LOCK = ".runner.lock"  # held as long as a runner lives
RUNNER_LOG = ".runner.log"  # output of trainings that fail before they can write to their run
FREE_BYTES = 20_000_000  # that a disk must have before a training is started
POLL = 0.5  # seconds
LOCK_SECONDS = 1.0  # a process that checks for a runner holds its lock for a moment


class JobQueue:
    """The queued and running trainings below a folder of runs.

    Args:
        runs: The folder of runs; made for the first training.
    """

    def __init__(self, runs: Path) -> None:
        self.runs = runs.absolute()
        self._store = RunStore(self.runs)
        self._runner: subprocess.Popen[bytes] | None = None

    def submit(self, data: Path, config: RunConfig, name: str, numbered: bool = True) -> Path:
        """Queue a training; return its run directory, ``name-2`` etc. if ``numbered`` and taken.

        Raises:
            RunError: If the run exists and shall not be numbered, or it cannot be written.
        """
        run = RunDirectory.create(self.runs / name, continued(config), data, numbered)
        run.event("queued")
        self.wake()
        return run.path

    def resume(self, name: str) -> None:
        """Queue a training again that was stopped, interrupted or failed.

        Raises:
            RunError: If there is no such run, or it cannot be resumed or is queued already.
        """
        path = self._store.path_of(name)
        check_trainable(path)
        if state_of(path) == "queued":
            raise RunError(f"the run {name!r} is queued already; wait for it")
        (path / STOP).unlink(missing_ok=True)
        RunDirectory(path).event("queued")
        self.wake()

    def stop(self, name: str) -> None:
        """Ask a training to stop, however it was started; a queued one will not begin.

        Nothing changes if it is over already.

        Raises:
            RunError: If there is no such run.
        """
        path = self._store.path_of(name)
        if state_of(path) in ("queued", "running"):
            (path / STOP).touch()

    def jobs(self) -> list[RunSummary]:
        """Return the runs that are being trained, and then those that wait, in their order."""
        jobs = [run for run in self._store.runs() if not run.over]
        return sorted(jobs, key=lambda run: (run.state == "queued", run.changed, run.name))

    def wake(self) -> None:
        """Start a runner if a training waits and there is none."""
        if self._runner is not None and self._runner.poll() is None:
            return
        if not any(run.state == "queued" for run in self.jobs()):
            return
        try:
            with FileLock(self.runs / RUNNER_LOCK).acquire(timeout=0):
                pass
        except Timeout:
            return  # that runner finds the new run before it ends
        self._runner = start_process(self.runs, "tlearn.runs.job_queue", str(self.runs))

    def disk_full(self) -> str:
        """Return a sentence if the disk is full, else an empty string."""
        free = shutil.disk_usage(self.runs).free if self.runs.is_dir() else FREE_BYTES
        if free >= FREE_BYTES:
            return ""
        return (
            f"the disk of {str(self.runs)!r} is full: {format_bytes(free)} are free, "
            f"{format_bytes(FREE_BYTES)} are needed; free some space, and it continues by itself"
        )


def start_process(runs: Path, module: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a module of Python as a process that outlives this one and its terminal.

    It takes what time other processes leave.

    Raises:
        OSError: If it cannot be started.
    """
    with (runs / RUNNER_LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    lower_priority(TRAINING, process.pid)
    return process


def run_queued(runs: Path) -> None:
    """Train the queued runs of a folder one by one; none if another runner does."""
    queue = JobQueue(runs)
    # Looked at again without the lock: what is queued from then on finds that there is no runner.
    while any(run.state == "queued" for run in queue.jobs()):
        try:
            with FileLock(queue.runs / RUNNER_LOCK).acquire(timeout=LOCK_SECONDS):
                _train_queued(queue)
        except Timeout:
            return


def _train_queued(queue: JobQueue) -> None:
    while jobs := queue.jobs():
        first = jobs[0]
        if first.state == "queued" and not queue.disk_full():
            _train(queue, first.path)
        elif all(run.state == "running" for run in jobs):
            return
        else:
            time.sleep(POLL)


def _train(queue: JobQueue, run: Path) -> None:
    """Train a run in a process of its own, and wait for its end."""
    options = ("finetune", "--resume", str(run), "--quiet", "--progress", "json")
    request = last_change(run)
    code = start_process(queue.runs, "tlearn", *options).wait()
    if state_of(run) == "queued" and last_change(run) == request:  # and not queued again since
        error = f"the training ended with code {code} before it began"
        RunDirectory(run).event("failed", error=f"{error}; see {queue.runs / RUNNER_LOG}")


if __name__ == "__main__":
    run_queued(Path(sys.argv[1]))
