"""The runner: trains the queued runs of a folder one by one; ``python -m tlearn.runs.runner RUNS``.

It waits for trainings that others have started there, from a terminal or by a runner before it.
"""

import sys
import time
from pathlib import Path

from filelock import FileLock, Timeout

from tlearn.runs.directory import RunDirectory
from tlearn.runs.job_queue import RUNNER_LOCK, RUNNER_LOG, JobQueue, lower_priority, start_process
from tlearn.runs.run_state import STOP, last_change

POLL = 0.5  # seconds
LOCK_SECONDS = 1.0  # whoever looks whether there is a runner holds its lock for a moment


def main(runs: Path) -> None:
    """Train until none waits; not at all if another runner does."""
    lower_priority()
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
    """Have a process train a run, and wait for its end."""
    options = ("finetune", "--resume", str(run), "--quiet", "--progress", "json")
    request = last_change(run)
    code = start_process(queue.runs, "tlearn", *options).wait()
    if last_change(run) == request and not (run / STOP).exists():  # it could not note a beginning
        why = f"the training ended with code {code} before it began"
        RunDirectory(run).event("failed", error=f"{why}; see {queue.runs / RUNNER_LOG}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
