"""A job's process: ``python -m tlearn.jobs.begin RUNS JOB`` says that it is it, then trains.

It notes itself in the queue before it does anything else: whoever is killed then, it is known that
the job has begun, and by which process.
"""

import runpy
import signal
import sys
import threading
import time
from pathlib import Path

from tlearn.errors import RunError
from tlearn.jobs.job import Job
from tlearn.jobs.processes import tell
from tlearn.jobs.queue import REFUSED, Queue

POLL = 0.25  # seconds


def main(runs: Path, name: str) -> None:
    """Be the process of a job, if none is.

    Raises:
        SystemExit: With the code ``REFUSED`` if it is not its turn, or that cannot be noted.
    """
    queue = Queue(runs)
    try:
        job = queue.claim(name)
    except RunError as error:
        tell(error)
        job = None
    if job is None:
        raise SystemExit(REFUSED)
    threading.Thread(target=_obey, args=(queue.folder / name / "stop",), daemon=True).start()
    sys.argv = ["tlearn", "finetune", "--progress", "json", *_arguments(job, queue)]
    runpy.run_module("tlearn", run_name="__main__")


def _arguments(job: Job, queue: Queue) -> list[str]:
    if job.resumes:
        return ["--resume", str(job.run)]
    config = queue.folder / job.id / "config.yaml"
    return [str(job.data), "--config", str(config), "--out", str(job.run)]


def _obey(stop: Path) -> None:
    """Send this process one SIGTERM when it is asked to stop, however often that is.

    A second would break off what keeps the best so far. And no signal from outside can meet a
    stranger that got the number of a process that has ended.
    """
    while not stop.exists():
        time.sleep(POLL)
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:  # on Windows
        signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
