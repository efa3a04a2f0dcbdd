"""What the checks of a data set find, with photos, and the corrections that they propose."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import streamlit as st

from tlearn.checks.finding import BY_EYE, MEANINGS, CheckResult, Finding, proposed_edits
from tlearn.data import editing
from tlearn.data.edits import Edits
from tlearn.data.scan import Manifest
from tlearn.data.thumbnails import thumbnail_row
from tlearn.text import shortened
from tlearn.web import background, data_process
from tlearn.web.components.gallery import Picture, enlarge_button, show_enlarged
from tlearn.web.components.photo_editor import edit
from tlearn.web.components.ready_photos import ready_photos
from tlearn.web.components.scans import wait_for
from tlearn.web.components.session import pages_of, workspace
from tlearn.web.data_work import MOST, check_data
from tlearn.web.words import check_name, escape_markdown, message, t

PER_PAGE = 8  # findings of a check
PIXELS = 112
COLOURS = {"error": "red", "warning": "orange", "note": "gray"}


@dataclass(frozen=True)
class _Check:
    """A check of a data set, running or over."""

    task: background.BackgroundTask
    content: bool
    names: frozenset[str]  # of the photos there were
    right: set[tuple[str, ...]] = field(default_factory=set)  # findings that a person called wrong


_checks = background.Recent[Path, _Check](MOST)  # by data folder, the one begun last


def check_view(data: str, manifest: Manifest) -> None:
    """Show what was found; the files are checked without being asked for, their content is not."""
    root = workspace().data_set(data)
    names = frozenset(file.name for file in manifest.files)
    if root not in _checks or (names and names.isdisjoint(_checks[root].names)):
        _begin(root, False, names)  # it may be another data set at the place of a deleted one
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(t("data.check_files"), icon=":material/refresh:"):
            _begin(root, False, names)
        if st.button(
            t("data.check_content"), icon=":material/image_search:", help=t("data.check_hint")
        ):
            _begin(root, True, names)
    check = _checks[root]
    if not wait_for(check.task, t("data.checking")):
        return
    if check.task.problem:
        st.warning(escape_markdown(message(check.task.problem)))
        return
    result: CheckResult = check.task.result
    findings = [f for f in result.open_findings(Edits.of(root)) if _key(f) not in check.right]
    if not names <= check.names:
        st.info(t("data.check_old"))
    if not findings:
        st.success(t("data.check_none"))
    if not check.content:
        st.caption(t("data.check_hint"))
    groups = groupby(findings, key=lambda finding: finding.check)
    by_check = {name: list(group) for name, group in groups}
    first = [finding for group in by_check.values() for finding in group[:PER_PAGE]]
    paths = [picture.path for finding in first for picture in _pictures(check, finding)]
    missing = {*paths} - ready_photos(paths, PIXELS)
    for name, group in by_check.items():
        _show_check(data, check, name, group, missing)


def _key(finding: Finding) -> tuple[str, ...]:
    return (finding.check, *finding.names)


def _begin(root: Path, content: bool, names: frozenset[str]) -> None:
    if root in _checks:
        _checks[root].task.replaced = True
    task = background.start(
        lambda progress: data_process.run_apart(progress, check_data, root, content)
    )
    _checks[root] = _Check(task, content, names)


def _pictures(check: _Check, finding: Finding) -> list[Picture]:
    """Return the first two photos of a finding, where they are still there."""
    folder, reason = check.task.result.folder, message(finding.reason)
    photos = [name for name in finding.names[:2] if not name.endswith("/")]
    return [p for p in (Picture(folder, name, reason) for name in photos) if p.path.is_file()]


def _show_check(
    data: str, check: _Check, name: str, findings: Sequence[Finding], missing: Container[Path]
) -> None:
    """Show the findings of one check, and a button that makes all the edits they propose.

    The thumbnails of ``missing`` photos are not ready.
    """
    colour = COLOURS[findings[0].severity]
    severity = t(f"data.severity_{findings[0].severity}")
    count = len(proposed_edits(findings))
    with st.container(horizontal=True, vertical_alignment="center"):
        title = escape_markdown(check_name(name))
        title = title[:1].upper() + title[1:]
        st.markdown(f"#### {title} :{colour}-badge[{len(findings):,} · {severity}]")
        if count > 1 and st.button(
            t("data.fix_all", count=f"{count:,}"),
            key=f"fix.{name}.{count}",
            icon=":material/done_all:",
            help=t("data.fix_hint"),
        ):
            edit(data, editing.apply_changes, proposed_edits(findings))
    if name in MEANINGS:
        st.caption(message(MEANINGS[name]))
    shown = pages_of(f"check.{name}.page", len(findings), PER_PAGE)
    pictures: list[Picture] = []
    with st.container(horizontal=True, gap="small"):
        for i in shown:
            _show_finding(data, check, findings[i], pictures, missing)
    show_enlarged(pictures, f"check.{name}")


def _show_finding(
    data: str,
    check: _Check,
    finding: Finding,
    pictures: list[Picture],
    missing: Container[Path],
) -> None:
    """Show one finding: the photos, why, and what is proposed; add its photos to the pictures."""
    key = "\n".join(_key(finding))  # by its place a button would mean the next
    own = _pictures(check, finding)
    with st.container(border=True, width=268, gap="small"):
        if own:
            with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
                row = [None if one.path in missing else one.path for one in own]
                st.image(thumbnail_row(row, PIXELS), width="content")
                enlarge_button(f"check.{finding.check}", len(pictures), own[0].name)
            pictures += own
        names = " · ".join(
            escape_markdown(shortened(name.removesuffix("/"), 60)) for name in finding.names[:2]
        )
        st.markdown(f"**{names}**")
        st.caption(escape_markdown(message(finding.reason)))
        if finding.edits and st.button(
            _proposal(finding), key=f"fix.{key}", icon=":material/done:", help=_fix(finding)
        ):
            edit(data, editing.apply_changes, finding.edits)
        if finding.check in BY_EYE:
            st.button(
                t("data.is_right"),
                key=f"right.{key}",
                icon=":material/close:",
                type="tertiary",
                help=t("data.is_right_hint"),
                on_click=check.right.add,
                args=(_key(finding),),
            )


def _fix(finding: Finding) -> str:
    """Say which photo or class gets which edit."""
    return escape_markdown("; ".join(map(message, finding.fix.split("; "))))


def _proposal(finding: Finding) -> str:
    """Say what the edits of a finding do."""
    actions = {change.action for change in finding.edits}
    values = {change.value for change in finding.edits}
    if actions == {"class"} and len(values) == 1:
        return t("data.fix_class", label=escape_markdown(shortened(values.pop(), 24)))
    if actions == {"exclude"}:
        return t("data.exclude", count=len(finding.edits))
    if actions == {"group"}:
        return t("data.fix_group", count=len(finding.edits))
    return t("data.fix_several", count=len(finding.edits))
