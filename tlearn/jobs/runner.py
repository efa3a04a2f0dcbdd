"""The runner: starts the jobs of a queue one by one; ``python -m tlearn.jobs.runner RUNS``."""

import os
import sys
import time
from pathlib import Path

from tlearn.errors import RunError
from tlearn.jobs.job import Job
from tlearn.jobs.processes import lower_priority, start, tell
from tlearn.jobs.queue import REFUSED, Queue

POLL = 0.5  # seconds
PAUSE = 2.0  # seconds after which what failed is tried again


def run(queue: Queue) -> None:
    """Work on a queue until nothing waits; not at all if another runner does."""
    lower_priority(os.getpid())
    if not queue.enlist():
        return
    while True:
        try:
            job = _next(queue)
            if job is None:
                return
            if job.state == "queued" and not queue.full():
                _run_job(queue, job)
                continue
            queue.settle(job.id)  # a runner before us started it, and it outlived that one
        except (RunError, OSError) as error:  # a full disk, above all: it may pass
            tell(error)
            time.sleep(PAUSE)
        time.sleep(POLL)


def _next(queue: Queue) -> Job | None:
    """Return the job that runs, else the first that waits; without any, leave the queue."""
    with queue.lock():
        found = queue.jobs()
        waiting = [job for job in found if job.state == "queued"]
        if not waiting:
            queue.leave()
            return None
        return next((job for job in found if job.state == "running"), waiting[0])


def _run_job(queue: Queue, job: Job) -> None:
    """Start a job, wait for its end, and note it."""
    process = start("tlearn.jobs.begin", str(queue.runs), job.id, log=queue.log_of(job.id))
    code = process.wait()
    if code == REFUSED:  # it was stopped in the meantime, or another process is it
        time.sleep(PAUSE)
        return
    while True:
        try:
            queue.settle(job.id, code, process.pid)
            return
        except RunError as error:  # nobody else knows the code: until there is room
            tell(error)
            time.sleep(PAUSE)


if __name__ == "__main__":
    run(Queue(Path(sys.argv[1])))
