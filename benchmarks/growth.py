"""How memory and time grow with the number of images."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import WEIGHTS, finetune


def draw(folder: Path, count: int) -> Path:
    """Draw small pictures of four classes, each with a content of its own."""
    rng = np.random.default_rng(0)
    for i in range(count):
        label = folder / "abcd"[i % 4]
        label.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
        coarse[..., i % 4 % 3] //= 2 + i % 4
        Image.fromarray(coarse).resize((120, 90)).save(label / f"{i}.jpg", quality=85)
    return folder


def train(folder: Path, place: Path) -> tuple[float, float]:
    """Train one epoch on cached activations; return seconds and peak memory in MiB."""
    network = ("--backbone", "mobilenet_v2", "--weights", WEIGHTS)
    options = (*network, "--views", 2, "--stages", "block_13_expand:1")
    done = finetune(folder, place / "run", place / "cache", *options)
    return done.seconds, done.memory


def growth(counts: list[int]) -> dict[str, Any]:
    """Train on growing numbers of images."""
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as place:
            seconds, memory = train(draw(Path(place) / "photos", count), Path(place))
        rows.append({"images": count, "seconds": seconds, "memory_mib": memory})
        print(f"  {count} images: {seconds:.0f} s, {memory:.0f} MiB", flush=True)
    first, last = rows[0], rows[-1]
    x = np.array([row["images"] for row in rows], float)
    y = np.array([row["seconds"] for row in rows])
    slope, start = np.polyfit(x, y, 1)
    return {
        "rows": rows,
        "memory_ratio": last["memory_mib"] / first["memory_mib"],
        "seconds_per_1000": 1000 * slope,
        "start_seconds": start,
        "worst_off_the_line": float(np.abs(y - (start + slope * x)).max() / y.max()),
    }
