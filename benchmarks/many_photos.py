"""What very many small photos take: in an object store on this machine, and on its disk."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks.common import ROOT, SHARED, finetune, python
from benchmarks.manifests import Steps
from tlearn.data.read_data import read_source
from tlearn.data.scan import scan
from tlearn.data.scan_cache import ScanCache
from tlearn.object_stores import as_path

BUCKET = "benchmark"
VARIABLES = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}
CLASSES = 100
PIXELS = 64  # pixels
SOURCES = 200  # photos that they are parts of
# Of a process after it was started from a large one its own memory alone says what it took.
COMMAND = """
import sys; from tlearn.cli import main; from benchmarks.manifests import status_mb
main(sys.argv[1:]); print(); print(status_mb("VmHWM"))
"""
TRAINED = 400  # photos that the model that predicts was trained on


def small_photos(folder: Path, count: int) -> Path:
    """Write parts of photos of the sets into a folder of so many classes; return it."""
    paths = sorted((SHARED / "data" / "flowers").rglob("*.jpg"))[:SOURCES]
    sources = [Image.open(path).convert("RGB").reduce(2) for path in paths]
    rng = np.random.default_rng(0)
    for i in range(count):
        image = sources[i % len(sources)]
        left, top = (int(rng.integers(0, side - PIXELS)) for side in image.size)
        path = folder / f"class_{i % CLASSES:02d}" / f"{i:09d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.crop((left, top, left + PIXELS, top + PIXELS)).save(path, quality=85)
    return folder


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[psutil.Process, dict[str, str]]]:
    """Serve a folder by S3; give the process, and the variables by which clients find it."""
    command = [sys.executable, "-m", "benchmarks.s3_server", str(folder), BUCKET]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as server:
        assert server.stdout and server.stdin
        address = server.stdout.readline().strip()
        try:
            yield psutil.Process(server.pid), VARIABLES | {"AWS_ENDPOINT_URL": address}
        finally:
            server.stdin.close()


def scan_stored(url: str) -> list[dict[str, Any]]:
    """List and scan a folder of a store."""
    steps, data = Steps(), as_path(url)
    steps.do("imports", data.is_dir)
    source = steps.do("list", lambda: read_source(data))
    manifest = steps.do("scan", lambda: scan(source, cache=ScanCache(data)))
    assert len(manifest.files) == len(source.files)
    return steps.rows


def stored(folder: Path, place: Path) -> dict[str, list[dict[str, Any]]]:
    """Measure a first and a second scan of a folder in a store, and what the server takes."""
    results = {}
    with served(folder) as (server, variables):
        for name in ("first", "second"):
            before = sum(server.cpu_times()[:2])
            call = f"many_photos.scan_stored('s3://{BUCKET}/{folder.name}')"
            code = f"import json; from benchmarks import many_photos; print(json.dumps({call}))"
            variables["TLEARN_CACHE"] = str(place / "cache")
            rows = json.loads(python("-c", code, variables=variables).output.splitlines()[-1])
            rows[-1]["server_seconds"] = sum(server.cpu_times()[:2]) - before
            results[name] = rows
            print(f"  {name} scan: {rows}", flush=True)
    return results


def many_photos(count: int) -> dict[str, Any]:
    """Measure scans, checks and predictions of so many photos."""
    figures: dict[str, Any] = {"photos": count}
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        folder = small_photos(place / "photos", count)
        figures["stored"] = stored(folder, place)
        options = ("--preset", "quick", "--size", PIXELS)
        finetune(small_photos(place / "few", TRAINED), place / "run", place / "cache", *options)
        commands = {
            "check --files-only": ("check", folder, "--files-only", "--json", "--quiet"),
            "predict --out": ("predict", place / "run", folder, "--out", place / "out.csv"),
        }
        for name, words in commands.items():
            done = python("-c", COMMAND, *words, activations=place / "cache")
            memory = float(done.output.splitlines()[-1])
            figures[name] = {"wall": done.seconds, "seconds": done.cpu_seconds, "peak_mb": memory}
            print(f"  {name}: {figures[name]}", flush=True)
    return figures


def many_photos_tables(figures: dict[str, Any]) -> list[str]:
    """Return what each step takes, as lines of Markdown; memory is beyond that after imports."""
    photos = f"{figures['photos']:,} photos of {PIXELS} pixels, {os.cpu_count()} cores"
    lines = ["", photos, "", "| step | seconds | CPU seconds | MB after | MB at most |"]
    lines += ["|---|---|---|---|---|"]
    for name, rows in figures["stored"].items():
        base = rows[0]["mb"]
        lines += [
            f"| {name} {row['step']} | {row['wall']:.1f} | {row['seconds']:.1f} "
            f"| {row['mb'] - base:.0f} | {row['peak_mb'] - base:.0f} |"
            for row in rows[1:]
        ]
        lines.append(f"| server meanwhile | | {rows[-1]['server_seconds']:.1f} | | |")
    for name in ("check --files-only", "predict --out"):
        its = figures[name]
        figures_of = f"{its['wall']:.1f} | {its['seconds']:.1f} | | {its['peak_mb']:.0f} in all"
        lines.append(f"| {name} | {figures_of} |")
    return lines
