"""What a check finds in a data set, and the edits that would put it right."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tlearn.data.edits import Change

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """Something that may be wrong with a photo, a folder or a class.

    Attributes:
        check: The check that found it, in words of the field: ``suspect label``, ``blurred``, ...
        names: The photos as in the manifest, or folders with ``/`` at the end. The first is the
            one that it is about, the others are those that it is compared with.
        reason: One plain sentence for the user.
        severity: ``error`` for what is not used or spoils the measurement, ``warning`` for what is
            probably wrong, ``note`` for what is good to know.
        score: Ranks the findings of one check: the larger, the surer.
        edits: The proposed edits; empty where none makes sense.
    """

    check: str
    names: tuple[str, ...]
    reason: str
    severity: Severity = "warning"
    score: float = 0.0
    edits: tuple[Change, ...] = ()


@dataclass(frozen=True)
class CheckResult:
    """What the checks of a data set found.

    Attributes:
        data: The data set.
        photos: How many photos were looked at.
        labels: Its classes, in natural order.
        findings: By severity, check and score: what matters most first.
        seconds: How long the checks took.
    """

    data: Path
    photos: int
    labels: tuple[str, ...]
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """The number of findings of each check, in the order of the findings."""
        return dict(Counter(finding.check for finding in self.findings))

    def of(self, check: str) -> tuple[Finding, ...]:
        """Return the findings of one check, the surest first."""
        return tuple(finding for finding in self.findings if finding.check == check)

    def to_json(self) -> str:
        """Return everything as JSON, for ``tlearn check --json``."""
        values = {
            "data": str(self.data),
            "photos": self.photos,
            "labels": self.labels,
            "seconds": round(self.seconds, 3),
            "counts": self.counts,
            "findings": [asdict(finding) for finding in self.findings],
        }
        return json.dumps(values, ensure_ascii=False, indent=1) + "\n"


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings in the order of severity, then of checks, then of falling scores.

    A check stands where its most severe finding does.
    """
    listed = list(findings)
    worst: dict[str, int] = {}
    for finding in listed:
        rank = SEVERITIES.index(finding.severity)
        worst[finding.check] = min(rank, worst.get(finding.check, rank))

    def key(finding: Finding) -> tuple[int, str, int, float]:
        rank = SEVERITIES.index(finding.severity)
        return worst[finding.check], finding.check, rank, -finding.score

    return tuple(sorted(listed, key=key))


def proposed_edits(findings: Sequence[Finding]) -> tuple[Change, ...]:
    """Return the edits that findings propose, one of each path and kind, those of the first."""
    changes: dict[tuple[str, bool], Change] = {}
    for finding in findings:
        for change in finding.edits:
            changes.setdefault((change.path, change.action == "group"), change)
    return tuple(changes.values())
