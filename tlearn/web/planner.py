"""What fine-tuning would cost: ``tlearn plan`` in a process of its own, its answers kept."""

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
from tlearn.settings import to_yaml
from tlearn.web.child import error_in, start_child

FOLDER = ".plans"
FIELDS = {"backbone", "images_per_second", "parameters", "seconds", "bytes", "problem"}


class Planner:
    """Estimates for data sets, by backbone; one process at a time measures what is not known.

    All sessions of a server share one.

    Args:
        runs: The folder of runs, in which the answers are kept.
    """

    def __init__(self, runs: Path) -> None:
        self.folder = runs.absolute() / FOLDER
        self._process: subprocess.Popen[bytes] | None = None
        self._measured: Path | None = None
        self._tried: set[tuple[Path, frozenset[str]]] = set()
        self._refused: dict[Path, str] = {}
        self._lock = threading.RLock()

    def known(self, data: Path, digest: str, config: RunConfig) -> dict[str, dict[str, Any]]:
        """Return what is known by now, by backbone: the fields of ``Estimate``.

        Args:
            data: The data folder.
            digest: What stands for its content.
            config: The configuration; its backbone is each in turn, its weights do not matter.
        """
        try:
            lines = self._file(digest, config).read_text("utf-8", "replace").split("\n")
        except OSError:
            return {}
        found = {}
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:  # half written
                continue
            if isinstance(row, dict) and row.keys() >= FIELDS:
                found[str(row["backbone"])] = row
        return found

    def ask(self, data: Path, digest: str, config: RunConfig, names: Collection[str]) -> None:
        """Have what is not known yet measured, unless something is being measured.

        What could not be measured is tried again by another planner, not by this one.
        """
        known, file = self.known(data, digest, config), self._file(digest, config)
        lacking = [name for name in names if name not in known or known[name]["problem"]]
        attempt = (file, frozenset(lacking))
        with self._lock:
            if self.measuring or not lacking or attempt in self._tried:
                return
            self._tried.add(attempt)
            self._end()
            try:
                self._process = self._start(data, config, lacking, file)
            except OSError as error:
                self._refused[file] = f"{error.filename or self.folder}: {error.strerror or error}"
                return
            self._refused.pop(file, None)
            self._measured = file

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
                out.write(b"\n")  # what went before may have ended within a line
                out.flush()
            process = start_child(*command, stdout=out, stderr=log)
        lower_priority(process.pid)
        return process

    @property
    def measuring(self) -> bool:
        """Whether a process measures."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Leave the machine to a training; what is not known then is measured when it is asked."""
        with self._lock:
            self._end()
            self._tried.clear()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()  # it writes whole lines: nothing is lost but what it measures just now
            process.communicate()

    def problem(self, digest: str, config: RunConfig) -> str:
        """Return why measuring failed, in a line, or an empty text."""
        file = self._file(digest, config)
        code = self._process.poll() if self._process is not None else None
        if file != self._measured or not code:
            return self._refused.get(file, "")
        said = error_in(file.with_suffix(".log").read_bytes())
        return said or f"measuring ended with code {code}; see {file.with_suffix('.log')}"

    def _file(self, digest: str, config: RunConfig) -> Path:
        values = config.model_dump(mode="json", exclude_unset=True, exclude={"backbone", "weights"})
        text = json.dumps([__version__, digest, values], sort_keys=True)
        return self.folder / f"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}.jsonl"
