"""What a scan says about a data set, as findings."""

from collections.abc import Iterable

import numpy as np

from tlearn.checks.finding import Finding, Severity
from tlearn.data.edits import Change
from tlearn.data.file_table import FileTable
from tlearn.data.images import EMPTY, ZEROS
from tlearn.data.layouts import SPLITS
from tlearn.data.problems import Problem

# The check and the severity of each kind of problem; others have checks of their own.
CHECKS: dict[str, tuple[str, Severity]] = {
    "unreadable": ("unreadable", "error"),
    "not an image": ("not an image", "note"),
    "no class": ("no class", "warning"),
    "empty class": ("empty class", "warning"),
    "folder": ("folder", "note"),
    "edit": ("edit without effect", "note"),
    "pixels": ("pixel values", "note"),
    "refused": ("left out", "warning"),
    "renamed": ("renamed", "note"),
}


def check_scan(problems: Iterable[Problem]) -> list[Finding]:
    """Return the problems of a scan as findings, except those that other checks say more about."""
    return [_finding(problem) for problem in problems if problem.kind in CHECKS]


def _finding(problem: Problem) -> Finding:
    check, severity = CHECKS[problem.kind]
    name, edits = problem.name, tuple[Change, ...]()
    if problem.reason in (EMPTY, ZEROS):
        check, severity = "zero bytes", "error"
    if problem.kind == "pixels" and problem.reason.startswith("damaged"):
        check, severity = "damaged", "note"
    if problem.kind == "empty class":
        name += "/"
    if problem.kind == "unreadable":
        edits = (Change(name, "exclude"),)
    return Finding(check, (name,), problem.reason, severity, edits=edits)


def check_duplicates(files: FileTable) -> list[Finding]:
    """Return files of the same content, each but one: that in the split that is used last."""
    given = files.given
    used = np.maximum(given.as_numbers(["", *SPLITS]), 1)  # without a split as with "train"
    files = files[np.argsort(-used, kind="stable")]
    findings: list[Finding] = []
    for place, first in zip(*(places.tolist() for places in files.copies()), strict=True):
        file, other = files[place], files[first]
        names, exclude = (file.name, other.name), (Change(file.name, "exclude"),)
        if other.label != file.label:
            reason = f"the same file as one of class {other.label!r}"
            findings.append(Finding("conflict", names, reason, "error", 1))
        elif file.given and other.given != file.given:
            reason = (
                f"the same file as one in {other.given}: a training leaves it out of {file.given}"
            )
            findings.append(Finding("leak", names, reason, "warning", 1, exclude))
        else:
            reason = "the same file as another of its class"
            findings.append(Finding("duplicate", names, reason, "warning", 1, exclude))
    return findings
