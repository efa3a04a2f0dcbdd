"""What a check finds in a data set, and the edits that would put it right."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tlearn.data.editing import apply_changes
from tlearn.data.edits import Change, Edits
from tlearn.data.packed_photos import photo_path
from tlearn.errors import ConfigError, nearest
from tlearn.text import decode_name

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
# What to look at first, among checks of one severity: what stops a training, what spoils its
# measurement or its classes, what is on single photos, how files are stored.
CHECKS = (
    *("one class", "small class", "unreadable", "zero bytes", "leak", "conflict", "suspect label"),
    *("no class", "empty class", "hidden", "left out", "similar classes", "imbalance"),
    *("burst", "near duplicate", "duplicate"),
    *("one colour", "dark", "bright", "blurred", "tiny", "extreme aspect", "outlier"),
    *("similar names", "unsafe name", "edit without effect", "folder", "renamed", "damaged"),
    *("pixel values", "animated", "unusual mode", "grey", "colour", "EXIF-rotated"),
    *("wrong extension", "not an image"),
)
# What a person has to look at: most of these photos and classes are wrong, but some are not, and
# nothing but the eye can tell. ``all`` does not stand for them.
BY_EYE = (
    *("conflict", "suspect label", "outlier", "similar classes"),
    *("dark", "bright", "blurred", "tiny", "extreme aspect"),
)
# What words mean that not everybody knows.
MEANINGS = {
    "leak": "A picture is trained on and measured with, too: the model seems better than it is.",
    "conflict": "The same picture is in two classes; one of them is wrong.",
    "suspect label": "Photos that look as if they belong to another class than their own.",
    "outlier": "Photos unlike all others of their class: perhaps something else is on them.",
    "burst": "Shots of one scene, nearly the same: they are best kept together in one split.",
    "imbalance": "One class has many times the photos of another.",
}


@dataclass(frozen=True)
class Finding:
    """Something that may be wrong with a photo, a folder or a class.

    Attributes:
        check: The check that found it, in words of the field: ``suspect label``, ``blurred``, ...
        names: The photos as in the manifest, or folders with ``/`` at the end. The first is the
            one that it is about, the others are those that it is compared with. Files that cannot
            be read or are hidden are no photos of the manifest.
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

    @property
    def fix(self) -> str:
        """What its edits do, in a few words; empty where there are none."""
        alike: dict[tuple[str, str, str], list[Change]] = defaultdict(list)
        for edit in self.edits:
            alike[edit.action, edit.value, edit.of_class].append(edit)
        return "; ".join(_instruction(edits, self.names[0]) for edits in alike.values())


def _instruction(edits: Sequence[Change], own: str) -> str:
    """Say what edits that do the same do; a photo or class called ``own`` is not named."""
    edit, *more = edits
    what = f" {len(edits)} photos" if more else "" if edit.path == own else f" {edit.path}"
    if edit.action == "exclude":
        return f"exclude{what}"
    if edit.action == "group":
        return f"group{what} as {edit.value!r}" if edit.value else f"ungroup{what}"
    if edit.of_class:
        return f"merge{what} into {edit.value!r}"
    return f"relabel{what} as {edit.value!r}"


@dataclass(frozen=True)
class CheckResult:
    """What the checks of a data set found.

    Attributes:
        data: The data set.
        folder: The folder that the names of photos are relative to.
        photos: How many photos were looked at.
        labels: Its classes, in natural order.
        findings: By severity, check and score: what matters most first.
        seconds: How long the checks took.
    """

    data: Path
    folder: Path
    photos: int
    labels: tuple[str, ...]
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def counts(self) -> dict[str, int]:
        """The number of findings of each check, in the order of the findings."""
        return dict(Counter(finding.check for finding in self.findings))

    def path_of(self, name: str) -> Path:
        """Return where a photo or folder of a finding is; a file may be unreadable or gone."""
        return photo_path(self.folder, decode_name(name))

    def of(self, *which: str) -> tuple[Finding, ...]:
        """Return the findings of checks, or about photos or folders.

        ``all`` stands for all but those of ``BY_EYE``, which are asked for by their names.

        Raises:
            ConfigError: If a word is no check, and nothing was found about a photo of this name.
        """
        names = {finding.names[0] for finding in self.findings}
        refuse_unknown(which, names, "and nothing was found about a photo of this name")
        checks = {*CHECKS} - {*BY_EYE} if "all" in which else set()
        wanted = checks | {*which}
        return tuple(f for f in self.findings if {f.check, f.names[0]} & wanted)

    def open_findings(self, edits: Edits) -> list[Finding]:
        """Return the findings whose proposals were not carried out, and that are not excluded."""
        made: dict[tuple[str, bool], Change] = {}
        for line in edits.lines:
            made[line.path, line.action == "group"] = line
        excluded = {path for (path, _), line in made.items() if line.action == "exclude"}

        def is_made(change: Change) -> bool:
            line = made.get((change.path, change.action == "group"))
            return line is not None and (line.action, line.value) == (change.action, change.value)

        return [
            finding
            for finding in self.findings
            if finding.names[0] not in excluded
            and not (finding.edits and all(map(is_made, finding.edits)))
        ]

    def apply(self, findings: Iterable[Finding]) -> tuple[Change, ...]:
        """Make the edits that findings propose, as one user action; return those with an effect.

        ``tlearn data undo`` takes them back.

        Raises:
            DataError: If a photo is not there any more; nothing is changed then.
        """
        return apply_changes(self.data, proposed_edits(findings))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values of JSON, as ``tlearn check --json`` prints it."""
        return {
            "data": str(self.data),
            "folder": str(self.folder),
            "photos": self.photos,
            "classes": list(self.labels),
            "seconds": round(self.seconds, 3),
            "counts": self.counts,
            "findings": [asdict(finding) for finding in self.findings],
        }


def refuse_unknown(which: Iterable[str], names: Collection[str], otherwise: str) -> None:
    """Refuse a word that is no check and none of the names of photos, folders and classes.

    Raises:
        ConfigError: If there is one; ``otherwise`` says which names there are.
    """
    for word in which:
        if word not in ("all", *CHECKS) and word not in names:
            close = nearest(word, (*CHECKS, *sorted(names)))
            raise ConfigError(
                f"no check is called {word!r}, {otherwise}{close}; checks are {', '.join(CHECKS)}"
            )


def summary(result: CheckResult) -> str:
    """Return in a line how many findings there are about how many photos."""
    classes = f"{len(result.labels)} class{'es' if len(result.labels) != 1 else ''}"
    photos = f"{result.photos:,} photo{'s' if result.photos != 1 else ''}"
    many = f"{photos} of {classes} in {result.seconds:.1f} s"
    if not result.findings:
        return f"nothing wrong with {many}"
    return f"{severities(result.findings)} about {many}"


def severities(findings: Sequence[Finding]) -> str:
    """Return how many findings there are of each severity, such as ``1 error, 2 notes``."""
    counts = Counter(finding.severity for finding in findings)
    return ", ".join(
        f"{counts[word]} {word}{'s' if counts[word] != 1 else ''}"
        for word in SEVERITIES
        if counts[word]
    )


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings in the order of severity, then of ``CHECKS``, then of falling scores.

    A check stands where its most severe finding does.
    """
    listed = list(findings)
    worst: dict[str, int] = {}
    for finding in listed:
        rank = SEVERITIES.index(finding.severity)
        worst[finding.check] = min(rank, worst.get(finding.check, rank))

    def key(finding: Finding) -> tuple[int, int, int, float]:
        rank = SEVERITIES.index(finding.severity)
        return worst[finding.check], CHECKS.index(finding.check), rank, -finding.score

    return tuple(sorted(listed, key=key))


def proposed_edits(findings: Iterable[Finding]) -> tuple[Change, ...]:
    """Return the edits that findings propose.

    Where several concern the class of one photo, that of the first finding counts; but what any of
    them excludes is excluded, and nothing else is done to it.
    """
    changes: dict[tuple[str, bool], Change] = {}
    proposed = [change for finding in findings for change in finding.edits]
    excluded = {change.path for change in proposed if change.action == "exclude"}
    for change in proposed:
        if change.action == "exclude" or change.path not in excluded:
            changes.setdefault((change.path, change.action == "group"), change)
    return tuple(changes.values())
