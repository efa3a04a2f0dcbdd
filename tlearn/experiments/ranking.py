"""The result of a comparison of backbones: ranking, significance, recommendation."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.experiments.candidates import CandidateResult
from tlearn.runs.measurement import LEVEL, holm, interval, mcnemar
from tlearn.training.costs import UNSURE

BYTES = 4  # of a float32 number


@dataclass(frozen=True)
class Comparison:
    """Backbones ranked on one data set.

    Attributes:
        results: Those that were evaluated, in any order; at least one.
        skipped: By name, why others were not.
    """

    data: Path
    results: Sequence[CandidateResult]
    skipped: Mapping[str, str]
    stopped: bool
    path: Path

    @cached_property
    def ranking(self) -> list[CandidateResult]:
        """The results, the most accurate first; of equals the one with less log loss."""
        return sorted(self.results, key=lambda r: (-r.accuracy, r.log_loss, r.backbone))

    @cached_property
    def p_values(self) -> dict[str, float]:
        """For each but the best: how likely a difference from it as large is by chance.

        The exact test of McNemar (1947) on the images that both were tried on. The best is chosen
        by the same images, so the values are adjusted (Holm, 1979) over all pairs there are, not
        over the pairs with the best alone: of equal backbones any is called worse in at most 5% of
        comparisons.
        """
        pairs = list(itertools.combinations(self.ranking, 2))
        adjusted = holm([_mcnemar(*pair) for pair in pairs])
        return {
            other.backbone: p
            for (one, other), p in zip(pairs, adjusted, strict=True)
            if one is self.ranking[0]
        }

    @property
    def tied(self) -> list[str]:
        """The best, and those that are not significantly less accurate."""
        return [self.best, *(name for name, p in self.p_values.items() if p >= LEVEL)]

    @property
    def best(self) -> str:
        """The most accurate backbone."""
        return self.ranking[0].backbone

    @property
    def recommended(self) -> str:
        """Of those tied with the best, the quickest to fine-tune."""
        tied = [r for r in self.results if r.backbone in self.tied]
        return min(tied, key=lambda r: r.finetune_seconds).backbone

    @property
    def frontier(self) -> list[str]:
        """Those that no other beats in both accuracy and images per second, quickest first."""
        frontier, most = [], -1.0
        for r in sorted(self.results, key=lambda r: (-r.images_per_second, -r.accuracy)):
            if r.accuracy > most:
                frontier.append(r.backbone)
                most = r.accuracy
        return frontier

    def rows(self) -> list[dict[str, Any]]:
        """Return one record per backbone, best first, as ``comparison.json`` has them."""
        return [
            {
                "backbone": r.backbone,
                "accuracy": r.accuracy,
                "accuracy_ci95": interval(r.accuracy, len(r.right)),
                "images": len(r.right),
                "classes": r.classes,
                "log_loss": r.log_loss,
                "taps": r.taps,
                "images_per_second": round(r.images_per_second, 1),
                "speed_is_sure": r.speed_is_sure,
                "parameters": r.parameters,
                "bytes": BYTES * r.parameters,
                "finetune_seconds": round(r.finetune_seconds, 1),
                "p_value": self.p_values.get(r.backbone),
                "tied": r.backbone in self.tied,
                "frontier": r.backbone in self.frontier,
            }
            for r in self.ranking
        ]

    def to_json(self) -> str:
        """Return the whole comparison as ``comparison.json`` has it."""
        record = {
            "data": str(self.data),
            "backbones": self.rows(),
            "not_compared": dict(self.skipped),
            "best": self.best,
            "recommended": self.recommended,
            "stopped": self.stopped,
        }
        return json.dumps(record, indent=2, ensure_ascii=False) + "\n"

    def table(self) -> str:
        """Return the ranking as lines for people, with what it means."""
        lines = [
            f"{'backbone':<20} {'accuracy':>8}  {'95% interval':<16} {'images/s':>8} "
            f"{'size':>8} {'fine-tune':>9}  against the best"
        ]
        for row in self.rows():
            low, high = row["accuracy_ci95"]
            marked = row["frontier"] and len(self.results) > 1
            name = ("* " if marked else "  ") + row["backbone"]
            lines.append(
                f"{name:<20} {row['accuracy']:>8.1%}  {low:>6.1%} to {high:<6.1%} "
                f"{row['images_per_second']:>8.4g} {row['bytes'] / 1e6:>5.0f} MB "
                f"{row['finetune_seconds']:>7.0f} s  {self._against(row)}"
            )
        lines += [f"  {name:<18} not compared: {why}" for name, why in self.skipped.items()]
        if len(self.results) > 1:
            lines.append("* no other is both quicker and more accurate")
        if not all(r.speed_is_sure for r in self.results):
            lines.append(f"the machine was busy: {UNSURE}")
        return "\n".join([*lines, *self._verdict()])

    def _against(self, row: dict[str, Any]) -> str:
        if row["backbone"] == self.best:
            return "best"
        return f"{'not significant' if row['tied'] else 'worse'} (p = {row['p_value']:.2g})"

    def _verdict(self) -> list[str]:
        counts = sorted({len(r.right) for r in self.results})
        images = " to ".join(str(n) for n in {counts[0]: 0, counts[-1]: 0})
        seen, every = self.results[0].classes, self.results[0].all_classes
        some = f", of {seen} of the {every:,} classes alone" if seen < every else ""
        method = f"cross-validated on {images} training images{some}"
        method += "; validation and test were not used"
        level = f"(p {'<' if len(self.tied) == 1 else '>='} {LEVEL}, adjusted)"
        if len(self.results) == 1:
            verdict = "only one backbone was compared"
        elif len(self.tied) == len(self.results):
            verdict = f"no difference in accuracy is significant {level}"
        elif len(self.tied) > 1:
            others = ", ".join(self.tied[1:])
            verdict = f"not significantly less accurate than {self.best} {level}: {others}"
        else:
            verdict = f"{self.best} is significantly more accurate than the others {level}"
        quickest = f"; of these {self.recommended} is the quickest" if len(self.tied) > 1 else ""
        return [method, verdict + quickest]


def _mcnemar(one: CandidateResult, other: CandidateResult) -> float:
    _, i, j = np.intersect1d(one.positions, other.positions, return_indices=True)
    first, second = one.right[i], other.right[j]
    return mcnemar(int((first & ~second).sum()), int((second & ~first).sum()))
