"""``python -m benchmarks``: tlearn beside the plain Keras tutorial, on the very same splits.

Whole processes from a cold start with an empty activation cache, one after the other in turns.
Accuracy is on the test side where a set has one, else on validation (which chose what tlearn kept
and so flatters it a little).
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
WEIGHTS = "weights/keras/models/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"


def main() -> None:
    """Run, print a table, and write all figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--sets", nargs="+", default=["flowers", "clothing"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--without-plain", action="store_true", help="tlearn alone")
    parser.add_argument("--out", type=Path, default=Path("benchmark.json"))
    arguments = parser.parse_args()
    shared = Path(os.environ.get("TLEARN_SHARED", ROOT.parent / "shared"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    rows = []
    for name in arguments.sets:
        for seed in arguments.seeds:
            row = measure(shared, name, seed, arguments.preset, arguments.without_plain)
            rows.append(row)
            print(line(row), flush=True)
    for name in arguments.sets:
        print(line(mean([row for row in rows if row["set"] == name])))
    arguments.out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def measure(shared: Path, name: str, seed: int, preset: str, without_plain: bool) -> dict[str, Any]:
    """Run both on one set with one seed."""
    data, weights = shared / "data" / name, str(shared / WEIGHTS)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        seconds, output = timed(
            ["-m", "tlearn", "finetune", str(data), "--weights", weights, "--seed", str(seed),
             "--preset", preset, "--out", str(run), "--json", "--quiet"],
            {"TLEARN_CACHE": str(Path(folder) / "cache")},
        )  # fmt: skip
        metrics = json.loads(output)
        side = "test" if "test" in metrics else "validation"
        row: dict[str, Any] = {
            "set": name,
            "seed": seed,
            "side": side,
            "seconds": seconds,
            "accuracy": metrics[side]["accuracy"],
            "validation": metrics["validation"]["accuracy"],
            "log_loss": metrics[side]["log_loss"],
            "stages": metrics["stages"],
        }
        if not without_plain:
            row["plain_seconds"], output = timed(
                ["-m", "benchmarks.plain", str(data), str(run / "splits.csv"), "--weights", weights,
                 "--seed", str(seed)],
                {},
            )  # fmt: skip
            row["plain_accuracy"] = json.loads(output.splitlines()[-1])[side]
    return row


def timed(arguments: list[str], environment: dict[str, str]) -> tuple[float, str]:
    """Run a Python process; return its wall seconds and its standard output."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return time.monotonic() - start, done.stdout


def mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean of every number over seeds."""
    numbers = [key for key, value in rows[0].items() if isinstance(value, float)]
    means = {key: statistics.mean(row[key] for row in rows) for key in numbers}
    probe = statistics.mean(row["stages"][0]["accuracy"] for row in rows)
    return rows[0] | means | {"seed": "mean", "stages": [{"accuracy": probe}]}


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    text = (
        f"{row['set']:<10} seed {row['seed']!s:<5} {row['side']:<10} "
        f"tlearn {row['accuracy']:.3f} in {row['seconds']:5.0f} s "
        f"(validation: probe {row['stages'][0]['accuracy']:.3f}, end {row['validation']:.3f})"
    )
    if "plain_accuracy" in row:
        text += (
            f"   plain {row['plain_accuracy']:.3f} in {row['plain_seconds']:5.0f} s   "
            f"{row['plain_seconds'] / row['seconds']:.1f} times faster"
        )
    return text


if __name__ == "__main__":
    main()
