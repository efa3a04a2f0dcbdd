"""What all benchmarks share: measured processes, and where the photos are."""

import atexit
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("TLEARN_SHARED", ROOT.parent / "shared"))
MOBILENET = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
WEIGHTS = str(SHARED / "weights/keras/models" / MOBILENET)


@dataclass(frozen=True)
class Done:
    """A process that has ended: wall and CPU seconds, peak memory in MiB, standard output."""

    seconds: float
    cpu_seconds: float
    memory: float
    output: str


@cache
def keras_home() -> dict[str, str]:
    """Make a folder for Keras, which writes there, of the weights in ``shared``, if they are there.

    Returns:
        The variable that names it.
    """
    if not Path(WEIGHTS).exists():
        return {}
    home = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, home)
    (Path(home) / "models").symlink_to(Path(WEIGHTS).parent)
    return {"KERAS_HOME": home}


def python(
    *arguments: object, activations: Path | None = None, variables: dict[str, str] | None = None
) -> Done:
    """Run Python as a process of its own, in the repository, with variables in its environment.

    Raises:
        SystemExit: If it fails, with the end of what it wrote to standard error.
    """
    environment = {**keras_home(), **os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment |= variables or {}
    if activations:
        environment["TLEARN_CACHE"] = str(activations)
    start = time.monotonic()
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            command = " ".join(map(str, arguments))
            raise SystemExit(f"{command} failed: {process.returncode}\n{errors.read()[-2000:]}")
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return Done(time.monotonic() - start, cpu_seconds, usage.ru_maxrss / 1024, output)


def apart(module: str, call: str) -> Any:
    """Evaluate a function of a module that loads networks, in a process of its own."""
    code = f"import json, {module} as module; print(json.dumps(module.{call}))"
    return json.loads(python("-c", code).output.splitlines()[-1])


def finetune(data: Path, run: Path, activations: Path, *options: object) -> Done:
    """Run ``tlearn finetune`` with some options; the output is the metrics as JSON."""
    fixed = ("--out", run, "--json", "--quiet")
    return python("-m", "tlearn", "finetune", data, *fixed, *options, activations=activations)


def baseline(name: str, data: Path, splits: Path, table: Path, *options: object) -> Done:
    """Run one of ``benchmarks.keras_baselines`` on the splits of a run; write its predictions."""
    # TensorFlow does so by itself on the CPUs that this one stands in for.
    variables = {"TF_ENABLE_ONEDNN_OPTS": "0"} if "ONEDNN_MAX_CPU_ISA" in os.environ else {}
    arguments = (name, data, splits, table, *options)
    return python("-m", "benchmarks.keras_baselines", *arguments, variables=variables)


def rate(work: Callable[[], int], seconds: float = 2.0, times: int = 3) -> float:
    """Return the median rate of some work per second, after a first run that is not measured.

    Args:
        work: Returns how many things it did.
        seconds: How long each measurement repeats it.
        times: Number of measurements.
    """
    work()
    rates = []
    for _ in range(times):
        done, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            done += work()
        rates.append(done / (time.perf_counter() - start))
    return statistics.median(rates)


def seconds_of(work: Callable[[], Any]) -> float:
    """Return how long some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def median(rows: Iterable[dict[str, Any]], key: str) -> float:
    """Return the median of one column."""
    return float(statistics.median(row[key] for row in rows))
