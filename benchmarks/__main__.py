"""``python -m benchmarks``: every figure as a ratio, measured in turn in one run.

Parts: ``training`` (whole processes against the plain Keras tutorial), ``inception`` (the same with
InceptionV3), ``extraction`` (views per second against the bare engine), ``feed``, ``prediction``,
``growth`` (memory and time against the number of images) and ``startup`` (of the command line).

``quality`` takes an hour and more, and is run when it is named: accuracy, log loss, calibration and
seconds of presets and baselines on several sets, and whether they differ significantly. So are
``labelling``: what ``tlearn label-next`` gains over photos at random; ``unknown``: how well photos
of other kinds are told from known ones; ``check``: what ``tlearn check`` finds of faults planted in
copies of the sets, and what 10,000 photos take; ``cluster``: what activations of up to 100 million
photos would cost on a cluster; ``pages``: what each view of the page takes in Chromium while
nothing else goes on, or something; ``manifest``: memory and seconds of listing, editing and
splitting generated data sets of up to ten million files, without decoding a photo; ``photos``: what
``--photos`` small ones take in an object store on this machine, to be checked, and to be predicted.
"""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cluster_costs import cluster_costs, cluster_tables
from benchmarks.common import SHARED, apart, python
from benchmarks.growth import growth
from benchmarks.labelling import labelling, labelling_row
from benchmarks.manifests import manifests, manifests_tables
from benchmarks.many_photos import many_photos, many_photos_tables
from benchmarks.page_views import pages, pages_tables
from benchmarks.planted_faults import planted_faults
from benchmarks.quality import BASELINES, FINAL, PRESETS, SETS, TUNING, quality
from benchmarks.service_load import serving, serving_tables
from benchmarks.training import against_plain, inception
from benchmarks.unknown_photos import unknown, unknown_tables
from tlearn.errors import TlearnError

# Of CPUs that this one can stand in for: what limits the kernels of TensorFlow and of OpenVINO.
CPUS = {"avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2"}}
RATES = "benchmarks.rates"  # which loads networks
BACKBONES = ("mobilenet_v2", "inception_v3", "xception", "vgg19")


def startup(times: int = 15) -> dict[str, float]:
    """Run ``python -c pass`` and ``tlearn --help`` in turn; return medians and their ratio."""
    bare, shown = [], []
    for _ in range(times):
        bare.append(python("-c", "pass").seconds)
        shown.append(python("-m", "tlearn", "--help").seconds)
    seconds, base = statistics.median(shown), statistics.median(bare)
    return {"seconds": seconds, "bare_seconds": base, "ratio": seconds / base}


def machine(limit: str | None) -> str:
    """Describe this machine, and what its kernels are limited to."""
    model = platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        lines = cpu.read_text(encoding="utf-8").splitlines()
        model = next((x.split(":")[1].strip() for x in lines if "model name" in x), model)
    return f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}" + (
        f", limited to {limit}" if limit else ""
    )


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


def _check(result: dict[str, Any]) -> list[str]:
    large = result["large"]
    return [
        f"`tlearn check`, {large['photos']:,} photos | {large['seconds']:.0f} s, "
        f"{large['memory_mib']:,.0f} MiB | {large['cpu_seconds']:.0f} CPU seconds | "
    ]


def _startup(result: dict[str, Any]) -> list[str]:
    return [
        f"`tlearn --help` | {1000 * result['seconds']:.0f} ms | `python -c pass` "
        f"{1000 * result['bare_seconds']:.0f} ms | {result['ratio']:.1f} bare starts"
    ]


@dataclass(frozen=True)
class Part:
    """A part of the benchmarks.

    Attributes:
        measure: Gives figures, by the arguments of the command line.
        rows: Gives the rows of the table of ratios from them.
        tables: Gives tables of its own from them, as lines of Markdown.
        default: Whether it is run when none is named.
    """

    measure: Callable[[argparse.Namespace], Any]
    rows: Callable[[Any], list[str]] = lambda result: []
    tables: Callable[[Any], list[str]] = lambda result: []
    default: bool = True


PARTS = {
    "training": Part(
        lambda a: [against_plain(name, a.seeds) for name in a.sets or SETS[:1]], _training
    ),
    "inception": Part(lambda a: [inception()], _training),
    "extraction": Part(
        lambda a: [apart(RATES, f"extraction({x!r})") for x in BACKBONES], _extraction
    ),
    "feed": Part(lambda a: apart(RATES, "feed_overhead()"), _feed),
    "prediction": Part(lambda a: apart(RATES, "prediction()"), _prediction),
    "growth": Part(lambda a: growth(a.images), _growth),
    "startup": Part(lambda a: startup(), _startup),
    "labelling": Part(
        lambda a: labelling(a.sets or SETS),
        tables=lambda result: [f"{row['set']}: {labelling_row(row)}" for row in result],
        default=False,
    ),
    "check": Part(planted_faults, _check, lambda result: result["tables"], default=False),
    "unknown": Part(
        lambda a: unknown(a.sets or SETS, a.seeds), tables=unknown_tables, default=False
    ),
    "cluster": Part(lambda a: cluster_costs(), tables=cluster_tables, default=False),
    "pages": Part(lambda a: pages(), tables=pages_tables, default=False),
    "manifest": Part(lambda a: manifests(a.files), tables=manifests_tables, default=False),
    "photos": Part(lambda a: many_photos(a.photos), tables=many_photos_tables, default=False),
    "serving": Part(lambda a: serving(), tables=serving_tables, default=False),
    "quality": Part(quality, tables=lambda result: result["tables"], default=False),
}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help=f"of {', '.join(PARTS)} [those that take minutes: up to startup]",
    )
    parser.add_argument("--sets", nargs="+", help=f"[training: {SETS[0]}; others: all]")
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seeds", nargs="+", type=int, default=TUNING)
    seeds.add_argument(
        "--final", dest="seeds", action="store_const", const=FINAL, help=f"seeds {FINAL}"
    )
    parser.add_argument("--cpu", choices=CPUS, help="stand in for a CPU that has no more than this")
    parser.add_argument("--images", nargs="+", type=int, default=[1000, 4000, 16000, 20000])
    parser.add_argument(
        "--files", nargs="+", type=int, default=[100_000, 1_000_000], help="of manifest"
    )
    parser.add_argument(
        "--photos", type=int, default=10_000, help="of photos, and the large set of check"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmark.json"))
    quality = parser.add_argument_group("quality")
    quality.add_argument(
        "--data", nargs="+", type=Path, default=[], help="data to train on in place of the sets"
    )
    quality.add_argument(
        "--methods",
        nargs="+",
        default=[*PRESETS, *BASELINES],
        help='presets and baselines, also with options: "balanced --views 4" [all]',
    )
    quality.add_argument("--backbone", help="of tlearn [its default]")
    quality.add_argument("--rerun", action="store_true", help="repeat what was measured before")
    quality.add_argument("--before", type=Path, help="rows of older code (.jsonl) to compare with")
    return parser


def check(arguments: argparse.Namespace) -> str:
    """Return what is wrong with the arguments, or an empty text."""
    data = [SHARED / "data" / name for name in arguments.sets or ()] + arguments.data
    names = [path.resolve().name for path in data]
    missing = [str(path) for path in data if not path.exists()]
    if set(arguments.parts) - set(PARTS):
        return f"the parts are {', '.join(PARTS)}"
    if arguments.out.is_dir() or not arguments.out.parent.is_dir():
        return f"--out takes a file in an existing folder, not {str(arguments.out)!r}"
    if arguments.before and not arguments.before.is_file():
        return f"--before takes the rows of an earlier call, not {str(arguments.before)!r}"
    if len(set(names)) < len(names):
        return f"the data sets need names that differ, not {', '.join(names)}"
    return f"there is no data set {missing[0]!r}" if missing else ""


def main() -> None:
    """Run the parts asked for, print tables, and write all figures as JSON."""
    arguments = make_parser().parse_args()
    if problem := check(arguments):
        make_parser().error(problem)
    os.environ |= CPUS.get(arguments.cpu, {})  # every process measured inherits it
    figures: dict[str, Any] = {"machine": machine(arguments.cpu)}
    print(figures["machine"], flush=True)
    ratios, tables = ["| figure | tlearn | compared with | ratio |", "|---|---|---|---|"], []
    for name, part in PARTS.items():
        if name in arguments.parts or (part.default and not arguments.parts):
            print(f"{name} ...", flush=True)
            try:
                figures[name] = part.measure(arguments)
            except TlearnError as error:
                make_parser().error(str(error))
            arguments.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
            ratios += [f"| {row} |" for row in part.rows(figures[name])]
            tables += part.tables(figures[name])
    print("\n" + "\n".join(ratios if ratios[2:] else []) + "\n".join(tables))


if __name__ == "__main__":
    main()
