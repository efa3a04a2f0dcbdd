"""``python -m benchmarks``: every figure as a ratio, measured in turn in one run.

Parts: ``training`` (whole processes against the plain Keras tutorial), ``inception`` (the same with
InceptionV3), ``extraction`` (views per second against the bare engine), ``feed``, ``prediction``,
``growth`` (memory and time against the number of images) and ``startup`` (of the command line).
"""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import python
from benchmarks.growth import growth
from benchmarks.training import against_plain, inception

BACKBONES = ("mobilenet_v2", "inception_v3", "xception", "vgg19")


def apart(call: str) -> Any:
    """Evaluate a function of ``benchmarks.rates``, which load a network, in its own process."""
    code = f"import json; from benchmarks import rates; print(json.dumps(rates.{call}))"
    return json.loads(python("-c", code).output.splitlines()[-1])


def startup(times: int = 15) -> dict[str, float]:
    """Run ``python -c pass`` and ``tlearn --help`` in turn; return medians and their ratio."""
    bare, shown = [], []
    for _ in range(times):
        bare.append(python("-c", "pass").seconds)
        shown.append(python("-m", "tlearn", "--help").seconds)
    seconds, base = statistics.median(shown), statistics.median(bare)
    return {"seconds": seconds, "bare_seconds": base, "ratio": seconds / base}


def machine() -> str:
    """Describe this machine."""
    model = platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        lines = cpu.read_text(encoding="utf-8").splitlines()
        model = next((x.split(":")[1].strip() for x in lines if "model name" in x), model)
    return f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}"


def _training(results: list[dict[str, Any]]) -> list[str]:
    return [
        f"{one['set']}, {mine['name']} | {mine['seconds']:.1f} s, {one['split']} "
        f"{mine['accuracy']:.3f} | plain Keras {one['plain']['seconds']:.0f} s, "
        f"{one['plain']['accuracy']:.3f} | {mine['ratio']:.1f}x"
        for one in results
        for mine in one["trainings"]
    ]


def _extraction(results: list[dict[str, Any]]) -> list[str]:
    return [
        f"{one['backbone']} {one['pixels']}, files to cached activations, 4 views | "
        f"{one['end_to_end']:.0f} views/s | bare engine {one['auto']:.0f}, TensorFlow float32 "
        f"{one['tensorflow']:.0f}, roofline {one['auto'] / one['bare_of_roofline']:.0f} | "
        f"{one['end_to_end_of_bare']:.2f} of bare, {one['end_to_end_of_tensorflow']:.1f}x "
        f"TensorFlow"
        for one in results
    ]


def _feed(result: dict[str, Any]) -> list[str]:
    return [
        f"training step fed from the cache | {result['fed_step_ms']:.1f} ms | on one batch in "
        f"memory {result['step_ms']:.1f} ms | {result['overhead']:+.1%}"
    ]


def _prediction(result: dict[str, Any]) -> list[str]:
    return [
        f"predict {result['photos']} photos | {result['images_per_second']:.0f} images/s | "
        f"`model.predict` {result['model_predict']:.0f} | {result['ratio']:.1f}x"
    ]


def _growth(result: dict[str, Any]) -> list[str]:
    first, last = result["rows"][0], result["rows"][-1]
    return [
        f"peak memory, {last['images']:,} images | {last['memory_mib']:.0f} MiB | "
        f"{first['images']:,} images {first['memory_mib']:.0f} MiB | {result['memory_ratio']:.2f}x",
        f"seconds per additional 1,000 images | {result['seconds_per_1000']:.1f} s | largest "
        f"deviation from a straight line | {result['worst_off_the_line']:.0%}",
    ]


def _startup(result: dict[str, Any]) -> list[str]:
    return [
        f"`tlearn --help` | {1000 * result['seconds']:.0f} ms | `python -c pass` "
        f"{1000 * result['bare_seconds']:.0f} ms | {result['ratio']:.1f} bare starts"
    ]


# By part: what measures it, by the arguments, and the rows of the table that show it.
PARTS: dict[str, tuple[Callable[[argparse.Namespace], Any], Callable[[Any], list[str]]]] = {
    "training": (
        lambda arguments: [against_plain(name, arguments.seeds) for name in arguments.sets],
        _training,
    ),
    "inception": (lambda arguments: [inception()], _training),
    "extraction": (
        lambda arguments: [apart(f"extraction({name!r})") for name in BACKBONES],
        _extraction,
    ),
    "feed": (lambda arguments: apart("feed_overhead()"), _feed),
    "prediction": (lambda arguments: apart("prediction()"), _prediction),
    "growth": (lambda arguments: growth(arguments.images), _growth),
    "startup": (lambda arguments: startup(), _startup),
}


def main() -> None:
    """Run the parts asked for, print a table, and write all figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} [all]")
    parser.add_argument("--sets", nargs="+", default=["flowers"], help="photo sets to train on")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--images", nargs="+", type=int, default=[1000, 4000, 16000, 20000])
    parser.add_argument("--out", type=Path, default=Path("benchmark.json"))
    arguments = parser.parse_args()
    if set(arguments.parts) - set(PARTS):
        parser.error(f"the parts are {', '.join(PARTS)}")
    if arguments.out.is_dir() or not arguments.out.parent.is_dir():
        parser.error(f"--out takes a file in an existing folder, not {str(arguments.out)!r}")
    figures: dict[str, Any] = {"machine": machine()}
    print(figures["machine"], flush=True)
    table = ["| figure | tlearn | compared with | ratio |", "|---|---|---|---|"]
    for part in [name for name in PARTS if name in (arguments.parts or PARTS)]:
        print(f"{part} ...", flush=True)
        measure, rows = PARTS[part]
        figures[part] = measure(arguments)
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        table += [f"| {row} |" for row in rows(figures[part])]
    print("\n" + "\n".join(table))


if __name__ == "__main__":
    main()
