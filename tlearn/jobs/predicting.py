"""Predictions by ``tlearn predict`` in a process of its own: a hostile photo takes down nobody."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tlearn.csv_files import csv_text
from tlearn.errors import RunError
from tlearn.jobs.watching import ERROR
from tlearn.progress import Progress
from tlearn.text import encode_name

TOP = 5  # classes per photo
UNREADABLE = 2  # the exit code where no photo at all can be read, and for other bad input


@dataclass(frozen=True)
class Answer:
    """What a model says of a photo.

    Attributes:
        path: The photo.
        top: The likeliest classes with their probabilities, best first; empty if it has a problem.
        problem: Why it cannot be read, else empty.
    """

    path: Path
    top: tuple[tuple[str, float], ...]
    problem: str = ""

    @property
    def label(self) -> str:
        """The likeliest class, empty if there is none."""
        return self.top[0][0] if self.top else ""

    @property
    def probability(self) -> float:
        """Its probability, 0 to 1."""
        return self.top[0][1] if self.top else 0.0


def predict(run: Path, folder: Path, count: int, progress: Progress) -> list[Answer]:
    """Predict all photos below a folder, by the same way as the command line.

    Args:
        run: The run directory.
        folder: The photos.
        count: How many there are, to show how far it is.
        progress: Where to show it.

    Raises:
        RunError: If the run or the photos cannot be used, or the process was killed before its end.
    """
    answers: list[Answer] = []
    command = [
        sys.executable,
        "-m",
        "tlearn",
        "predict",
        str(run),
        str(folder),
        "--top",
        str(TOP),
        "--format",
        "json",
        "--quiet",
    ]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    with tempfile.TemporaryFile() as said, progress.task("predicting", count, "photos") as task:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, env=environment
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                answer = _answer(line)
                if answer is not None:
                    answers.append(answer)
                    task.advance()
            code = process.wait()
        finally:  # an exception, or nobody wants to know any more
            process.kill()
            process.wait()
            process.stdout.close()
        # Where no photo at all can be read, the command fails too.
        if code and not (answers and code == UNREADABLE and all(a.problem for a in answers)):
            said.seek(0)
            words = said.read().decode("utf-8", "replace").strip().split("\n")
            reason = words[-1].removeprefix(ERROR) or f"it ended with code {code}, without a word"
            after = f"after {len(answers)} photos: " if answers else ""
            raise RunError(f"{after}{reason}")
    return answers


def _answer(line: bytes) -> Answer | None:
    """Read a line; ``None`` if it is of something else that writes, or broken off."""
    try:
        record = json.loads(line.decode("utf-8"))
        top = tuple((str(label), float(p)) for label, p in record["top"])
        return Answer(Path(record["path"]), top, str(record["problem"]))
    except (ValueError, KeyError, TypeError):
        return None


def write_csv(answers: Sequence[Answer], folder: Path, out: Path) -> Path:
    """Write answers as a table that spreadsheets open; return its path.

    Args:
        answers: What a model said of photos below the folder.
        folder: The folder; names are given from there.
        out: The file to write.

    Raises:
        OSError: If it cannot be written.
    """
    columns = [f"{what}_{k}" for k in range(1, TOP + 1) for what in ("label", "probability")]
    rows: list[list[str | float]] = []
    for answer in answers:
        cells = [cell for label, p in answer.top for cell in (label, round(p, 6))]
        cells += [""] * (len(columns) - len(cells))
        name = encode_name(answer.path.relative_to(folder).as_posix())
        rows.append([name, *cells, answer.problem])
    text = csv_text(["photo", *columns, "problem"], rows)
    out.write_text(text, encoding="utf-8-sig", newline="")
    return out
