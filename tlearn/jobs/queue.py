"""The queue: a folder with a folder per job."""

import contextlib
import json
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tlearn.atomic import atomic_directory, atomic_file
from tlearn.config import RunConfig
from tlearn.errors import RunError
from tlearn.jobs.ending import OVER, ending, stamp
from tlearn.jobs.job import Job, ended, lives, number, read_json
from tlearn.jobs.processes import memory_of, start
from tlearn.jobs.watching import Live, watch
from tlearn.progress import format_bytes
from tlearn.runs.directory import check_free, check_resumable
from tlearn.runs.processes import identity
from tlearn.settings import to_yaml

FOLDER = ".queue"
NAME = re.compile(r"(\d{8,})-[0-9a-f]{8}")  # a number in the order of asking, and a token
REFUSED = 75  # the exit code of a process that does not begin a job
LOCK_SECONDS = 30.0  # changing the queue takes milliseconds
ROOM = 20_000_000  # bytes that must be free before a job is started
DAMAGED = "what was asked for is damaged in the queue; take it off the list and ask again"


class Queue:
    """The jobs below a folder of runs; any number of programs and threads may use it at once.

    Args:
        runs: The folder of runs; made when the first job is asked for.
    """

    def __init__(self, runs: Path) -> None:
        self.runs = runs.absolute()
        self.folder = self.runs / FOLDER
        self._lock = FileLock(self.folder / "lock")
        self._ended: dict[str, Job] = {}  # they change no more, and there may be thousands

    def submit(self, data: Path, config: RunConfig, run: Path) -> Job:
        """Ask for a training.

        Args:
            data: The data folder.
            config: The configuration.
            run: The run directory to make.

        Raises:
            RunError: If the run directory exists, or is promised to another job, or the queue
                cannot be written.
        """
        with self.lock():
            check_free(run)
            self._check_promised(run)
            return self._add(data, run, to_yaml(config))

    def resume(self, run: Path, data: Path) -> Job:
        """Ask for an interrupted or stopped training to be continued.

        Raises:
            RunError: If it cannot be, or a job works on it or will, or the queue cannot be written.
        """
        with self.lock():
            self._check_promised(run)
            check_resumable(run)
            return self._add(data, run, None)

    def _check_promised(self, run: Path) -> None:
        place = run.resolve()
        if any(not job.over and job.run.resolve() == place for job in self.jobs()):
            raise RunError(
                f"a training works on {str(run)!r} already, or waits to; choose another name, or "
                f"stop that one first"
            )

    def _add(self, data: Path, run: Path, config: str | None) -> Job:
        # A number, not the time: clocks may be set back.
        number = 1 + max((int(name.partition("-")[0]) for name in self._names()), default=0)
        name = f"{number:08d}-{secrets.token_hex(4)}"
        request = {
            "data": str(data.absolute()),
            "run": str(run.absolute()),
            "resumes": config is None,
            "asked": time.time(),
        }
        with atomic_directory(self.folder / name) as folder:
            if config is not None:
                (folder / "config.yaml").write_text(config, encoding="utf-8")
            (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        with contextlib.suppress(RunError):  # it waits; whoever wakes the queue next hears of it
            self.wake()
        return self.get(name)

    def jobs(self) -> list[Job]:
        """Return all jobs, in the order in which they were asked for."""
        names = self._names()
        for gone in set(self._ended).difference(names):
            self._ended.pop(gone, None)
        found = [job for name in names if (job := self._ended.get(name) or self._read(name))]
        if all(job.over for job in found):
            return found
        problem = self.full()
        return [job if job.over else replace(job, problem=problem) for job in found]

    def get(self, name: str) -> Job:
        """Return a job by its name.

        Raises:
            RunError: If there is none.
        """
        job = self._read(name) if NAME.fullmatch(name) else None
        if job is None:
            raise RunError(f"there is no training {name!r} in the queue; look at the list again")
        return job

    def live(self, name: str) -> Live:
        """Return how far a job is, from its log and its run's events.

        Raises:
            RunError: If there is none.
        """
        job = self.get(name)
        return watch(self.log_of(name), job.run, memory_of(job.pid))

    def log_of(self, name: str) -> Path:
        """Return the file that a job's output goes to."""
        return self.folder / name / "log.jsonl"

    def stop(self, name: str) -> None:
        """Ask a job to stop: one that waits is cancelled, one that runs keeps its best so far.

        Asking again, or one that has ended, changes nothing.

        Raises:
            RunError: If there is no such job, or the queue cannot be written.
        """
        with self.lock():
            if not self.get(name).over:
                (self.folder / name / "stop").touch()

    def forget(self, name: str) -> None:
        """Take a job that is over off the list; its run stays.

        Raises:
            RunError: If there is no such job, or it is not over.
        """
        with self.lock():
            if not self.get(name).over:
                raise RunError("a training that waits or runs stays in the queue; stop it first")
            (self.folder / name).rename(self.folder / f".{name}")
            for hidden in self.folder.glob(".*/"):  # and what was half made or half removed
                shutil.rmtree(hidden, ignore_errors=True)

    def wake(self) -> None:
        """See that jobs which wait are worked on: start a runner where there is none.

        While the disk is full none is started; the jobs' ``problem`` tells of it.

        Raises:
            RunError: If it cannot be started.
        """
        waiting = any(job.state == "queued" for job in self.jobs())
        if not waiting or self.has_runner() or self.full():
            return
        with self.lock():
            if not self.has_runner():
                log = self.folder / "runner.log"
                process = start("tlearn.jobs.runner", str(self.runs), log=log)
                # Somebody must take note of its end, or it would remain as a zombie.
                threading.Thread(target=process.wait, daemon=True).start()
                self._write_runner(process.pid)

    def full(self) -> str:
        """Return what is wrong if the disk is full, in a line; else an empty text."""
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError:
            return ""
        return (
            ""
            if free >= ROOM
            else (
                f"the disk of {str(self.runs)!r} is full: {format_bytes(free)} are free, "
                f"{format_bytes(ROOM)} are "
                f"needed; make room, then it goes on by itself"
            )
        )

    def has_runner(self) -> bool:
        """Tell whether a runner works on the queue."""
        return lives(read_json(self.folder / "runner.json"))

    @contextlib.contextmanager
    def lock(self, timeout: float = LOCK_SECONDS) -> Iterator[None]:
        """Keep others from changing the queue; a thread that does so already may do it again.

        Args:
            timeout: Seconds to wait for others.

        Raises:
            RunError: If others take longer, or the system refuses something meanwhile.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._lock.acquire(timeout):
                yield
        except Timeout:
            raise RunError(
                f"the queue {str(self.folder)!r} is being changed by another program; try again "
                f"when it is done"
            ) from None
        except OSError as error:
            raise RunError(
                f"the queue {str(self.folder)!r} cannot be changed: {error.strerror or error}; "
                f"look at the disk and its permissions, and try again"
            ) from None

    # What follows is for the runner and the jobs' processes.

    def enlist(self) -> bool:
        """Become the runner, unless there is another; tell whether it is so.

        Raises:
            RunError: If the queue cannot be written.
        """
        with self.lock():
            noted = read_json(self.folder / "runner.json") or {}
            if lives(noted) and noted["pid"] != os.getpid():
                return False
            self._write_runner(os.getpid())
            return True

    def leave(self) -> None:
        """Be the runner no more."""
        (self.folder / "runner.json").unlink(missing_ok=True)

    def claim(self, name: str) -> Job | None:
        """Become the process of a job, if it waits, is the first that does, and none runs.

        Raises:
            RunError: If the queue cannot be written.
        """
        with self.lock():
            found = self.jobs()
            first = next((job for job in found if job.state == "queued"), None)
            if first is None or first.id != name or any(job.state == "running" for job in found):
                return None
            pid = os.getpid()
            self.write_state(
                name, pid=pid, begun=identity(pid), started=time.time(), before=stamp(first.run)
            )
            return first

    def settle(
        self, name: str, code: int | None = None, pid: int = 0, timeout: float = LOCK_SECONDS
    ) -> dict[str, Any]:
        """Note how a job ended, if it has and that is not noted yet; return what is noted.

        Args:
            name: The job.
            code: The exit code of its process, if one saw it.
            pid: The process that had this code.
            timeout: Seconds to wait for others that change the queue.

        Raises:
            RunError: If it cannot be noted.
        """
        folder = self.folder / name
        with self.lock(timeout):
            state = read_json(folder / "state.json")
            if not folder.is_dir() or (state is None and code is None):
                return {}
            state = state or {}
            other = code is not None and state.get("pid", pid) != pid
            if state.get("outcome") in OVER or other or (code is None and lives(state)):
                return state
            state |= self._judged(name, state, code)
            self.write_state(name, **state)
            return state

    def write_state(self, name: str, **state: Any) -> None:
        """Note what has become of a job; for who has the lock.

        Raises:
            OSError: If that cannot be written.
        """
        with atomic_file(self.folder / name / "state.json") as path:
            path.write_text(json.dumps(state), encoding="utf-8")

    def _judged(self, name: str, state: dict[str, Any], code: int | None) -> dict[str, Any]:
        """Return what is to be noted of a job whose process is dead."""
        folder, log = self.folder / name, self.log_of(name)
        run = Path(str((read_json(folder / "request.json") or {}).get("run", folder)))
        asked = (folder / "stop").exists()
        outcome, problem = ending(run, log, state.get("before"), asked, code)
        if outcome == "failed" and not problem:
            problem = self.full() or f"it ended with code {code} and without a word"
        unseen = code is None and log.exists()
        heard = log.stat().st_mtime if unseen else time.time()
        return {"outcome": outcome, "problem": problem, "ended": heard}

    def _read(self, name: str) -> Job | None:
        """Read a job from its folder; ``None`` if there is none."""
        folder = self.folder / name
        if not folder.is_dir():
            return None
        try:
            request = read_json(folder / "request.json") or {}
            job = Job(
                name,
                Path(request["data"]),
                Path(request["run"]),
                bool(request["resumes"]),
                float(request["asked"]),
                "queued",
            )
        except (KeyError, TypeError, ValueError):
            return Job(name, Path(), folder, False, 0.0, "failed", problem=DAMAGED)
        asked = (folder / "stop").exists()  # looked for first: none begins that was asked to stop
        state = read_json(folder / "state.json")
        if state is None:
            return self._remembered(replace(job, state="cancelled")) if asked else job
        job = replace(job, started=number(state, "started"))
        if state.get("outcome") not in OVER:
            alive = lives(state)
            if alive or self.has_runner():  # the runner will say how it ended
                return replace(job, state="running", pid=state["pid"] if alive else 0)
            try:
                state = self.settle(name, timeout=0)
            except RunError:  # it is judged again when somebody looks again
                return ended(job, self._judged(name, state, None))
            if state.get("outcome") not in OVER:  # it is being forgotten
                return None
        return self._remembered(ended(job, state))

    def _remembered(self, job: Job) -> Job:
        self._ended[job.id] = job
        return job

    def _names(self) -> list[str]:
        try:
            with os.scandir(self.folder) as entries:
                return sorted(entry.name for entry in entries if NAME.fullmatch(entry.name))
        except FileNotFoundError:
            return []

    def _write_runner(self, pid: int) -> None:
        with atomic_file(self.folder / "runner.json") as path:
            path.write_text(json.dumps({"pid": pid, "begun": identity(pid)}), encoding="utf-8")
