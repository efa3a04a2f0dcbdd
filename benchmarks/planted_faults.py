"""Copies of photo sets with planted faults: what ``tlearn check`` finds of them."""

import argparse
import itertools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from benchmarks.changed_copies import CHANGES
from benchmarks.common import SHARED, Done, python
from tlearn.data.file_table import ImageFile
from tlearn.data.images import decode
from tlearn.data.scan import scan

SETS = ("flowers", "clothing", "brain_tumor", "signs", "weather")
TEST = 0.2  # of the photos
WHOLE = 1 << 14  # pixels: JPEG files are decoded at full size
COPIES = ("duplicate", "near duplicate", "leak", "conflict", "burst")  # checks
ALIKE = {  # the two classes of each set that a probe confuses most
    "flowers": ("roses", "tulips"),
    "clothing": ("longsleeve", "outwear"),
    "brain_tumor": ("no", "yes"),
    "signs": ("7", "8"),
    "weather": ("Cloudy", "Shine"),
}


@dataclass
class Planting:
    """A copy of a data set in the making.

    Attributes:
        folder: Where it is made: split folders with class folders.
        labels: The classes.
        strangers: Photos of other sets.
        rng: Decides everything.
        faults: The fault of each photo that has one, by its name in the copy.
        sources: The name in the set of each photo, by its name in the copy.
        changes: How each photo that is a changed copy was changed, by its name in the copy.
    """

    folder: Path
    labels: Sequence[str]
    strangers: Sequence[ImageFile]
    rng: np.random.Generator
    faults: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    changes: dict[str, str] = field(default_factory=dict)

    def copy(self, file: ImageFile, split: str = "", label: str = "", fault: str = "") -> Path:
        """Copy a photo as it is, into a split drawn at random and its class, if not told."""
        return self._file(file, file.path.suffix, split, label, fault, file.path.read_bytes())

    def save(
        self, file: ImageFile, image: Image.Image, fault: str, split: str = "", label: str = ""
    ) -> None:
        """Save a changed photo as JPEG, strongly compressed."""
        path = self._file(file, ".jpg", split, label, fault, b"")
        image.save(path, quality=int(self.rng.integers(40, 80)))

    def save_changed(self, file: ImageFile, fault: str, split: str, label: str = "") -> None:
        """Save a copy of a photo in which the next kind of change was made."""
        change = list(CHANGES)[len(self.changes) % len(CHANGES)]
        self.save(file, CHANGES[change](opened(file), self.rng), fault, split, label)
        self.changes[next(reversed(self.sources))] = change

    def other_label(self, file: ImageFile) -> str:
        """Draw another class than that of a photo."""
        return str(self.rng.choice([label for label in self.labels if label != file.label]))

    def _file(
        self, file: ImageFile, suffix: str, split: str, label: str, fault: str, content: bytes
    ) -> Path:
        split = split or ("test" if self.rng.random() < TEST else "train")
        name = f"{split}/{label or file.label}/{len(self.sources):05d}{suffix}"
        self.sources[name] = file.name
        if fault:
            self.faults[name] = fault
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


def opened(file: ImageFile) -> Image.Image:
    """Return the pixels of a photo."""
    return decode(file.path.read_bytes(), WHOLE)


def wrong_label(its: Planting, file: ImageFile, fault: str) -> None:
    """Put a photo into another class."""
    its.copy(file, label=its.other_label(file), fault=fault)


def copy_across_splits(its: Planting, file: ImageFile, fault: str) -> None:
    """Put a photo into training, and a changed copy into the test."""
    its.copy(file, "train")
    its.save_changed(file, fault, "test")


def copy_across_classes(its: Planting, file: ImageFile, fault: str) -> None:
    """Put a changed copy into another class."""
    its.copy(file, "train")
    its.save_changed(file, fault, "train", its.other_label(file))


def blurred(its: Planting, file: ImageFile, fault: str) -> None:
    """Blur a photo by a thirtieth to a sixtieth of its longer side."""
    image = opened(file)
    radius = max(image.size) / its.rng.uniform(30, 60)
    its.save(file, image.filter(ImageFilter.GaussianBlur(radius)), fault)


def dark(its: Planting, file: ImageFile, fault: str) -> None:
    """Leave 3 to 10 % of the light of a photo."""
    its.save(file, ImageEnhance.Brightness(opened(file)).enhance(its.rng.uniform(0.03, 0.1)), fault)


def truncated(its: Planting, file: ImageFile, fault: str) -> None:
    """Leave a part of a file."""
    path = its.copy(file, fault=fault)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * its.rng.uniform(0.2, 0.9))])


def foreign(its: Planting, file: ImageFile, fault: str) -> None:
    """Replace a photo by one of another set."""
    stranger = its.strangers[int(its.rng.integers(len(its.strangers)))]
    its.save(file, opened(stranger), fault)


# Faults: the part of the photos that get it, how it is made, and the checks that may name it.
Make = Callable[[Planting, ImageFile, str], None]
FAULTS: dict[str, tuple[float, Make, tuple[str, ...]]] = {
    "wrong label": (0.05, wrong_label, ("suspect label", "conflict")),
    "copy across splits": (0.03, copy_across_splits, ("leak",)),
    "copy across classes": (0.01, copy_across_classes, ("conflict",)),
    "blurred": (0.02, blurred, ("blurred",)),
    "dark": (0.02, dark, ("dark", "one colour")),
    "truncated": (0.02, truncated, ("unreadable",)),
    "foreign": (0.01, foreign, ("outlier", "suspect label")),
}
CHECKS = {checks[0]: fault for fault, (_, _, checks) in FAULTS.items()}


def plant(data: Path, others: Sequence[Path], folder: Path, seed: int) -> Planting:
    """Copy a data set with faults, each in photos of its own; the splits are drawn anew."""
    rng = np.random.default_rng(seed)
    manifest = scan(data)
    strangers = [file for other in others for file in scan(other).files]
    its = Planting(folder, manifest.labels, strangers, rng)
    waiting = iter([manifest.files[i] for i in rng.permutation(len(manifest.files))])
    for fault, (part, make, _) in FAULTS.items():
        for file in itertools.islice(waiting, round(part * len(manifest.files))):
            make(its, file, fault)
    for file in waiting:
        its.copy(file)
    return its


def plant_swaps(data: Path, folder: Path, seed: int) -> Planting:
    """Copy a data set with a part of the photos of its two most alike classes exchanged."""
    rng = np.random.default_rng(seed)
    manifest = scan(data)
    its = Planting(folder, ALIKE[data.name], (), rng)
    alike = [i for i, file in enumerate(manifest.files) if file.label in its.labels]
    swapped = set(rng.permutation(alike)[: round(FAULTS["wrong label"][0] * len(alike))].tolist())
    for i, file in enumerate(manifest.files):
        if i in swapped:
            wrong_label(its, file, "wrong label")
        else:
            its.copy(file)
    return its


def score(
    findings: Sequence[Mapping[str, Any]], its: Planting, native: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, float]]:
    """Return precision and recall of each check, and how many findings each has.

    Recall is the part of the faults that a check which may do so names. Of a check's findings,
    those count against its precision that name no such fault, and that the set without planted
    faults does not have. Whatever has a fault may be called an outlier.

    Args:
        findings: Of the copy.
        its: The copy.
        native: The findings of the set itself.
    """
    is_native = _natives(its, native)
    result: dict[str, dict[str, float]] = {}
    for check, fault in CHECKS.items():
        allowed = {
            name for name, f in its.faults.items() if check in FAULTS[f][2] or check == "outlier"
        }
        own = [f for f in findings if f["check"] == check]
        right = [bool(allowed & {*f["names"][:2]}) for f in own]
        false = sum(not r and not is_native(f) for f, r in zip(own, right, strict=True))
        planted = {name for name, f in its.faults.items() if f == fault}
        checks = FAULTS[fault][2]
        named = {name for f in findings if f["check"] in checks for name in f["names"][:2]}
        result[check] = {
            "precision": sum(right) / max(1, sum(right) + false),
            "recall": len(planted & named) / max(1, len(planted)),
            "findings": len(own),
            "false": false,
        }
    return result


def score_changes(
    findings: Sequence[Mapping[str, Any]], its: Planting, native: Sequence[Mapping[str, Any]]
) -> dict[str, dict[str, int]]:
    """Return of each kind of change how many copies there are, are named, and named beside others.

    Named beside others are those that findings of copies take for copies of something else.
    """
    is_native = _natives(its, native)
    right: dict[str, bool] = {}
    for finding in findings:
        names = finding["names"][:2]
        if finding["check"] in COPIES and finding["check"] != "burst":
            same = its.sources[names[0]] == its.sources[names[1]] or is_native(finding)
            right |= {name: right.get(name, True) and same for name in names if name in its.changes}
    result = {change: {"copies": 0, "named": 0, "false": 0} for change in CHANGES}
    for name, change in its.changes.items():
        result[change]["copies"] += 1
        result[change]["named"] += right.get(name, False)
        result[change]["false"] += not right.get(name, True)
    return result


def _natives(
    its: Planting, native: Sequence[Mapping[str, Any]]
) -> Callable[[Mapping[str, Any]], bool]:
    """Return what says whether the set without planted faults has a finding, too."""
    known = {(finding["check"], finding["names"][0]) for finding in native}
    alike = _alike(finding["names"] for finding in native if finding["check"] in COPIES)

    def is_native(finding: Mapping[str, Any]) -> bool:
        first, *others = (its.sources[name] for name in finding["names"])
        if finding["check"] in COPIES:
            return others[0] in alike.get(first, ())
        return (finding["check"], first) in known

    return is_native


def _alike(findings: Iterable[Sequence[str]]) -> dict[str, set[str]]:
    """Return for each photo all that findings connect it with, itself among them."""
    alike: dict[str, set[str]] = {}
    for names in findings:
        joined = set(names).union(*(alike.get(name, ()) for name in names))
        alike.update(dict.fromkeys(joined, joined))
    return alike


def run_check(folder: Path, cache: Path) -> tuple[list[dict[str, Any]], Done]:
    """Run ``tlearn check`` as a process of its own."""
    done = python("-m", "tlearn", "check", folder, "--json", "--quiet", activations=cache)
    return json.loads(done.output)["findings"], done


def planted_faults(arguments: argparse.Namespace) -> dict[str, Any]:
    """Check copies of sets with planted faults; return precision and recall, seconds and memory."""
    places = [SHARED / "data" / name for name in arguments.sets or (() if arguments.data else SETS)]
    places += [path.resolve() for path in arguments.data]
    rows: list[dict[str, Any]] = []
    for data in places:
        others = [SHARED / "data" / name for name in SETS if SHARED / "data" / name != data]
        with tempfile.TemporaryDirectory() as cache:
            native, _ = run_check(data, Path(cache))
            for seed in arguments.seeds:
                with tempfile.TemporaryDirectory() as place:
                    its = plant(data, others, Path(place) / data.name, seed)
                    found, done = run_check(its.folder, Path(cache))
                row = {"set": data.name, "seed": seed, "photos": len(its.sources)}
                row |= {"seconds": done.seconds, "cpu_seconds": done.cpu_seconds}
                row |= {"memory_mib": done.memory, "checks": score(found, its, native)}
                row |= {"changes": score_changes(found, its, native)}
                if data.name in ALIKE:
                    with tempfile.TemporaryDirectory() as place:
                        its = plant_swaps(data, Path(place) / data.name, seed)
                        found, _ = run_check(its.folder, Path(cache))
                    row["swaps"] = score(found, its, native)["suspect label"]
                rows.append(row)
                print(f"  {data.name} seed {seed}: {text_of([row])}", flush=True)
    return {"rows": rows, "large": large(arguments.photos), "tables": tables(rows)}


def large(count: int) -> dict[str, float]:
    """Check a set of so many photos, parts of those of all sets; return seconds and memory."""
    files = [file for name in SETS for file in scan(SHARED / "data" / name).files]
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        for i in range(count):
            image = opened(files[i % len(files)])
            side = np.array(image.size) * rng.uniform(0.3, 0.6)
            left, top = (rng.random(2) * (image.size - side)).tolist()
            part = image.crop((int(left), int(top), int(left + side[0]), int(top + side[1])))
            path = Path(place) / "photos" / files[i % len(files)].label / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            part.resize((320, 240)).save(path, quality=85)
        findings, done = run_check(Path(place) / "photos", Path(place) / "cache")
        shutil.rmtree(Path(place) / "photos")
    return {
        "photos": count,
        "findings": len(findings),
        "seconds": done.seconds,
        "cpu_seconds": done.cpu_seconds,
        "memory_mib": done.memory,
    }


def text_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the means of precision and recall of each check."""

    def mean(check: str, key: str) -> float:
        return float(np.mean([row["checks"][check][key] for row in rows]))

    return ", ".join(f"{c} {mean(c, 'precision'):.2f}/{mean(c, 'recall'):.2f}" for c in CHECKS)


def tables(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return precision and recall as lines of Markdown: by set and check, and by kind of change."""
    lines = ["", f"| precision / recall | {' | '.join(CHECKS)} | swaps | CPU seconds | MiB |"]
    lines.append("|---" * (len(CHECKS) + 4) + "|")

    def cell(scores: Sequence[Mapping[str, float]]) -> str:
        means = (np.mean([score[key] for score in scores]) for key in ("precision", "recall"))
        return " / ".join(f"{mean:.2f}" for mean in means) if scores else ""

    for name in dict.fromkeys(row["set"] for row in rows):
        its = [row for row in rows if row["set"] == name]
        cells = [cell([row["checks"][check] for row in its]) for check in CHECKS]
        cells.append(cell([row["swaps"] for row in its if "swaps" in row]))
        cpu, memory = (np.mean([row[key] for row in its]) for key in ("cpu_seconds", "memory_mib"))
        lines.append(f"| {name} | {' | '.join(cells)} | {cpu:.0f} | {memory:.0f} |")
    lines += ["", f"| copies | {' | '.join(CHANGES)} |", "|---" * (len(CHANGES) + 1) + "|"]
    sums = {
        change: {
            key: sum(row["changes"][change][key] for row in rows)
            for key in ("copies", "named", "false")
        }
        for change in CHANGES
    }
    counts = " | ".join(str(its["copies"]) for its in sums.values())
    precision, recall = (
        " | ".join(
            f"{its['named'] / max(1, its['named'] + its['false'] if key else its['copies']):.2f}"
            for its in sums.values()
        )
        for key in (True, False)
    )
    return [
        *lines,
        f"| number | {counts} |",
        f"| precision | {precision} |",
        f"| recall | {recall} |",
    ]
