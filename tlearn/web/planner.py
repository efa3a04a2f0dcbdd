"""Estimates of ``tlearn plan``, computed by a separate process and cached."""

import hashlib
import json
import subprocess
import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from tlearn import __version__
from tlearn.config import RunConfig
from tlearn.runs.job_queue import lower_priority
from tlearn.runs.run_state import read_events
from tlearn.settings import to_yaml
from tlearn.web.child import error_in, start_child

FOLDER = ".plans"
FIELDS = {"backbone", "images_per_second", "parameters", "seconds", "bytes", "sure", "problem"}


class Planner:
    """Estimates for data sets by backbone, measured by one process at a time.

    They are cached in the folder of runs. All sessions of a server share one planner.
    """

    def __init__(self, runs: Path) -> None:
        self.folder = runs.absolute() / FOLDER
        self._process: subprocess.Popen[bytes] | None = None
        self._measured: Path | None = None
        self._tried: set[tuple[Path, frozenset[str]]] = set()
        self._start_error = ""
        self._lock = threading.RLock()

    def known(self, digest: str, config: RunConfig) -> dict[str, dict[str, Any]]:
        """Return the fields of ``Estimate`` by backbone, as far as they are known.

        Args:
            digest: The digest of the data set.
            config: The configuration; its backbone and weights are ignored.
        """
        rows = read_events(self._file(digest, config))
        return {str(row["backbone"]): row for row in rows if row.keys() >= FIELDS}

    def ask(self, data: Path, digest: str, config: RunConfig, names: Collection[str]) -> None:
        """Start to measure the missing estimates, unless a process is measuring.

        What failed, or is unsure because the machine was busy, is measured again by another
        planner, or by this one after :meth:`stop`.
        """
        known, file = self.known(digest, config), self._file(digest, config)
        usable = {name for name, row in known.items() if row["sure"] and not row["problem"]}
        missing = [name for name in names if name not in usable]
        attempt = (file, frozenset(missing))
        with self._lock:
            if self.measuring or not missing or attempt in self._tried:
                return
            self._tried.add(attempt)
            self._kill()
            self._measured, self._start_error = file, ""
            try:
                self._process = self._start(data, config, missing, file)
            except OSError as error:
                self._start_error = f"{error.filename or self.folder}: {error.strerror or error}"

    def _start(
        self, data: Path, config: RunConfig, names: Sequence[str], file: Path
    ) -> subprocess.Popen[bytes]:
        settings = file.with_suffix(".yaml")
        self.folder.mkdir(parents=True, exist_ok=True)
        settings.write_text(to_yaml(config), encoding="utf-8")
        options = ("--json", "--progress", "json", "--config", str(settings))
        command = ("plan", str(data.absolute()), *options, "--backbones", ",".join(names))
        with file.open("ab") as out, file.with_suffix(".log").open("wb") as log:
            if out.tell():
                out.write(b"\n")  # a process before may have ended within a line
                out.flush()
            process = start_child(*command, stdout=out, stderr=log)
        lower_priority(process.pid)
        return process

    @property
    def measuring(self) -> bool:
        """Whether a process is measuring."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Stop measuring, as before a training, until :meth:`ask` is called again."""
        with self._lock:
            self._kill()
            self._tried.clear()

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # finished estimates are written already
            process.communicate()

    def problem(self, digest: str, config: RunConfig) -> str:
        """Return why measuring failed, in a line, or an empty text."""
        file = self._file(digest, config)
        if file != self._measured:
            return ""
        code = self._process.poll() if self._process is not None else None
        if not code:
            return self._start_error
        log = file.with_suffix(".log")
        return error_in(log.read_bytes()) or f"measuring ended with code {code}; see {log}"

    def _file(self, digest: str, config: RunConfig) -> Path:
        values = config.model_dump(mode="json", exclude_unset=True, exclude={"backbone", "weights"})
        text = json.dumps([__version__, digest, values], sort_keys=True)
        return self.folder / f"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}.jsonl"
