"""How well photos of other kinds are told from known ones: each set against all others.

A model is trained on each set with the defaults. Its test photos are known, photos of the other
sets are not, nor are pictures that are drawn: green waves, stripes, checks, noise, plain grey.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import SHARED, finetune
from benchmarks.quality import TEST
from tlearn.data.scan import scan
from tlearn.metrics import counts_above, roc_area
from tlearn.runs.run import Run
from tlearn.runs.unknown import REJECT

PHOTOS = 200  # of each other set
PICTURES = 20  # of each kind
WIDTH, HEIGHT = 320, 240
PATTERNS = ("green", "stripes", "checks", "noise", "grey")


def draw(folder: Path, seed: int) -> dict[str, list[Path]]:
    """Draw pictures that show nothing; return them by kind."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    paths: dict[str, list[Path]] = {}
    for kind in PATTERNS:
        for number in range(PICTURES):
            colour, period = rng.integers(0, 256, 3), int(rng.integers(8, 40))
            waves = np.sin(x / period) * np.cos(y / period)
            pixels = {
                "green": (120 + 100 * waves)[..., None] * (0.2, 1.0, 0.2),
                "stripes": ((x // period) % 2)[..., None] * colour,
                "checks": ((x // period + y // period) % 2)[..., None] * colour,
                "noise": rng.integers(0, 256, (HEIGHT, WIDTH, 3)),
                "grey": np.full((HEIGHT, WIDTH, 3), colour[0]),
            }[kind]
            path = folder / f"{kind} {number}.png"
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
            paths.setdefault(kind, []).append(path)
    return paths


def unknown(sets: Sequence[str], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Train on each set with each seed; return a row for each set and each other kind of photos."""
    rows = []
    for name in sets:
        of_seeds = [_of_seed(name, sets, seed) for seed in seeds]
        known, rejected = (sum(one[key] for one in of_seeds) for key in ("known", "rejected"))
        for other in of_seeds[0]["others"]:
            figures = np.mean([one["others"][other] for one in of_seeds], axis=0)
            row = {"set": name, "other": other, "auroc": figures[0], "recall": figures[1]}
            rows.append(row | {"known": known, "rejected": rejected})
        print(*(f"  {line}" for line in unknown_tables(rows)[-1:]), sep="\n", flush=True)
    return rows


def unknown_tables(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the rows as a table in Markdown, a line for each set that was trained on."""
    sets = list(dict.fromkeys(row["set"] for row in rows))
    others = list(dict.fromkeys([*sets, *(row["other"] for row in rows)]))
    lines = [
        f"AUROC, and the part that is called unknown where {REJECT:.0%} of known photos may be:",
        "",
        f"| trained on | {' | '.join(others)} | test photos called unknown |",
        "|---" * (len(others) + 2) + "|",
    ]
    for name in sets:
        its = {row["other"]: row for row in rows if row["set"] == name}
        cells = [
            f"{its[other]['auroc']:.3f}, {its[other]['recall']:.0%}" if other in its else ""
            for other in others
        ]
        first = next(iter(its.values()))
        part = f"{first['rejected'] / first['known']:.1%} of {first['known']}"
        lines.append(f"| {name} | {' | '.join(cells)} | {part} |")
    return lines


def _of_seed(name: str, sets: Sequence[str], seed: int) -> dict[str, Any]:
    """Train once; return AUROC and the part that is found by kind, and known photos rejected."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        options = ("--seed", seed, "--test", TEST)
        finetune(SHARED / "data" / name, folder / "run", folder / "cache", *options)
        run = Run(folder / "run")
        kinds = {other: _photos(other, seed) for other in sets if other != name}
        kinds |= draw(folder, seed)
        known = _scores(run, [path for path, _ in run.images("test")])
        threshold = run.unknown_detector.threshold(REJECT)
        others = {}
        for kind, paths in kinds.items():
            scores = _scores(run, paths)
            is_other = np.arange(len(known) + len(scores)) >= len(known)
            area = roc_area(*counts_above(is_other, np.concatenate([known, scores])))
            others[kind] = (area, float((scores > threshold).mean()))
    return {
        "others": others,
        "known": len(known),
        "rejected": int((known > threshold).sum()),
    }


def _photos(name: str, seed: int) -> list[Path]:
    files = scan(SHARED / "data" / name).files
    order = np.random.default_rng(seed).permutation(len(files))[:PHOTOS]
    return [files[k].path for k in order]


def _scores(run: Run, paths: Sequence[Path]) -> np.ndarray:
    outputs = [given for _, given in run.classifier.predict_with_features(paths)]
    return np.array(
        [run.unknown_detector.each([one])[0][0] for one in outputs if isinstance(one, tuple)]
    )
