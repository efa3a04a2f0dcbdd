"""What a comparison of backbones says: the ranking, what is noise, which to take."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.runs.metrics import interval, mcnemar
from tlearn.training.candidates import CandidateResult

LEVEL = 0.05  # of error, over all pairs with the best together
BYTES = 4  # of a float32 number


@dataclass(frozen=True)
class Comparison:
    """Backbones ranked on one data set.

    Attributes:
        data: The data folder.
        judged: Those that were judged, in any order; at least one.
        lost: By name, why others were not.
        stopped: Whether the user stopped it.
        path: The folder it was written to.
    """

    data: Path
    judged: Sequence[CandidateResult]
    lost: Mapping[str, str]
    stopped: bool
    path: Path

    @cached_property
    def ranking(self) -> list[CandidateResult]:
        """Those judged, the most accurate first; of equals the one with less log loss."""
        return sorted(self.judged, key=lambda j: (-j.accuracy, j.log_loss, j.backbone))

    @cached_property
    def p_values(self) -> dict[str, float]:
        """For each but the best: how likely a difference from it as large is by chance.

        The exact test of McNemar (1947) on the images that both were tried on, times the number of
        tests (Bonferroni), so that chance alone marks none of them in 19 of 20 comparisons.
        """
        best, *others = self.ranking
        return {j.backbone: min(1.0, _mcnemar(best, j) * len(others)) for j in others}

    @property
    def equals(self) -> list[str]:
        """The best, and those whose difference from it is within the noise."""
        best = self.ranking[0].backbone
        return [best, *(name for name, p in self.p_values.items() if p >= LEVEL)]

    @property
    def best(self) -> str:
        """The most accurate backbone."""
        return self.ranking[0].backbone

    @property
    def recommended(self) -> str:
        """Of those as good as the best, as far as one can tell, the quickest to fine-tune."""
        some = [j for j in self.judged if j.backbone in self.equals]
        return min(some, key=lambda j: j.finetune_seconds).backbone

    @property
    def frontier(self) -> list[str]:
        """Those that no other beats in both accuracy and images per second, quickest first."""
        found, most = [], -1.0
        for j in sorted(self.judged, key=lambda j: (-j.images_per_second, -j.accuracy)):
            if j.accuracy > most:
                found.append(j.backbone)
                most = j.accuracy
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Return one record per backbone, best first, as ``comparison.json`` has them."""
        return [
            {
                "backbone": j.backbone,
                "accuracy": j.accuracy,
                "accuracy_ci95": interval(j.accuracy, len(j.right)),
                "images": len(j.right),
                "log_loss": j.log_loss,
                "taps": j.taps,
                "images_per_second": round(j.images_per_second, 1),
                "parameters": j.parameters,
                "bytes": BYTES * j.parameters,
                "finetune_seconds": round(j.finetune_seconds, 1),
                "p_value": self.p_values.get(j.backbone),
                "within_noise": j.backbone in self.equals,
                "frontier": j.backbone in self.frontier,
            }
            for j in self.ranking
        ]

    def to_json(self) -> str:
        """Return the whole comparison as ``comparison.json`` has it."""
        record = {
            "data": str(self.data),
            "backbones": self.rows(),
            "not_compared": dict(self.lost),
            "best": self.best,
            "recommended": self.recommended,
            "stopped": self.stopped,
        }
        return json.dumps(record, indent=2, ensure_ascii=False) + "\n"

    def table(self) -> str:
        """Return the ranking as lines for people, with what it means."""
        lines = [
            f"{'backbone':<20} {'accuracy':>8}  {'95% interval':<16} {'images/s':>8} "
            f"{'size':>8} {'fine-tune':>9}  beside the best"
        ]
        for row in self.rows():
            low, high = row["accuracy_ci95"]
            name = ("* " if row["frontier"] else "  ") + row["backbone"]
            lines.append(
                f"{name:<20} {row['accuracy']:>8.1%}  {low:>6.1%} to {high:<6.1%} "
                f"{row['images_per_second']:>8.4g} {row['bytes'] / 1e6:>5.0f} MB "
                f"{row['finetune_seconds']:>7.0f} s  {self._beside(row)}"
            )
        lines += [f"  {name:<18} not compared: {why}" for name, why in self.lost.items()]
        return "\n".join([*lines, "* no other is both quicker and more accurate", *self._verdict()])

    def _beside(self, row: dict[str, Any]) -> str:
        if row["backbone"] == self.best:
            return "best"
        p = row["p_value"]
        return f"within the noise (p = {p:.2g})" if row["within_noise"] else f"worse (p = {p:.1g})"

    def _verdict(self) -> list[str]:
        counts = sorted({len(j.right) for j in self.judged})
        images = " to ".join(str(n) for n in {counts[0]: 0, counts[-1]: 0})
        how = f"cross-validated on {images} training images; validation and test were not looked at"
        equals = self.equals
        if len(self.judged) == 1:
            said = "there was nothing to compare it with"
        elif len(equals) == len(self.judged):
            said = "the differences in accuracy are all within the noise"
        elif len(equals) > 1:
            said = f"within the noise of {self.best}: {', '.join(equals[1:])}"
        else:
            said = f"{self.best} is better than the others, and not by chance"
        quickest = f"; of these {self.recommended} is the quickest" if len(equals) > 1 else ""
        return [how, said + quickest]


def _mcnemar(one: CandidateResult, other: CandidateResult) -> float:
    _, i, j = np.intersect1d(one.positions, other.positions, return_indices=True)
    return mcnemar(one.right[i], other.right[j])
