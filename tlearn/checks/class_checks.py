"""Checks of classes: how many photos they have."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from tlearn.checks.finding import Finding, Severity
from tlearn.data.edits import Change
from tlearn.data.file_table import FileTable
from tlearn.data.layouts import similar_labels, similarity

FEW = 10  # photos of a class, with fewer than which nothing reliable is learned
# The accuracy suffers from about this ratio on: M. Buda et al., A systematic study of the class
# imbalance problem in convolutional neural networks, Neural Networks 106 (2018).
IMBALANCE = 10


def check_classes(files: FileTable) -> list[Finding]:
    """Return the classes with too few photos to train on, and whether the others are unbalanced.

    Args:
        files: All photos, with their classes; those that are given for validation or test do not
            count.
    """
    labels = {*files.labels.present}
    counts = Counter(files[files.given.are("", "train")].labels.counts())
    findings = [_small(label, counts[label]) for label in sorted(labels) if counts[label] < FEW]
    if len(labels) == 1:
        findings.append(_only_class(files))
    findings += _similar(labels, counts)
    return [*findings, *_imbalance({k: n for k, n in counts.items() if n >= FEW})]


def _only_class(files: FileTable) -> Finding:
    """Report a class that has no other beside it, but perhaps classes in it."""
    folders = {below.partition("/")[0] for below in files.below() if "/" in below}
    reason = "the only class: at least two are needed to tell them apart"
    if len(folders) > 1:
        names = ", ".join(sorted(folders)[:5])
        reason = (
            f"the only class, with folders in it, such as {names}: if these are the classes, "
            f"move away the images beside them"
        )
    return Finding("one class", (f"{files[0].label}/",), reason, "error")


def _small(label: str, count: int) -> Finding:
    if count > 1:
        reason = f"{count} photos to train on: too few to learn reliably; {FEW} are a beginning"
    elif count:
        reason = "one photo alone: it cannot be both trained on and measured"
    else:
        reason = "no photo to train on"
    severity: Severity = "warning" if count > 1 else "error"
    return Finding("small class", (f"{label}/",), reason, severity, 1 - count / FEW)


def _similar(labels: Iterable[str], counts: Mapping[str, int]) -> list[Finding]:
    """Report classes of nearly the same name; all may be merged into the largest of them."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label, first in similar_labels(labels).items():
        alike[first].append(label)
    findings = []
    for first, others in alike.items():
        most, *less = sorted((first, *others), key=lambda label: -counts.get(label, 0))
        for label in less:
            names, edits = (f"{label}/", f"{most}/"), (Change(f"{label}/", "class", most),)
            findings.append(
                Finding("similar classes", names, similarity(most), "warning", 1, edits)
            )
    return findings


def _imbalance(counts: Mapping[str, int]) -> list[Finding]:
    if not counts:
        return []
    least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    if counts[most] < IMBALANCE * counts[least]:
        return []
    reason = (
        f"{counts[least]} photos, where {most!r} has {counts[most]}: small classes are predicted "
        f"less often and worse"
    )
    names = (f"{least}/", f"{most}/")
    score = counts[most] / counts[least]
    return [Finding("imbalance", names, reason, "warning", score)]
