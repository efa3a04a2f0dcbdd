"""Galleries of photos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from tlearn.web.components.session import pages_of, plain
from tlearn.web.i18n import Texts
from tlearn.web.thumbnails import in_a_row, thumbnail

PER_PAGE = 24
SIDE = 160  # pixels


@dataclass(frozen=True)
class Picture:
    """A photo in a gallery.

    Attributes:
        path: The file.
        name: What stands for it in what is chosen.
        caption: What stands below it.
    """

    path: Path
    name: str
    caption: str = ""


def gallery(t: Texts, pictures: Sequence[Picture], key: str, choosing: bool = False) -> list[str]:
    """Show pictures, a page at a time; return the names of those that are chosen on this page."""
    chosen = []
    shown = pages_of(t, f"{key}.page", len(pictures), PER_PAGE)
    with st.container(horizontal=True, gap="small"):
        for i in shown:
            picture = pictures[i]
            with st.container(width=SIDE, gap=None):
                show(picture.path, t)
                if picture.caption:
                    st.caption(plain(picture.caption))
                label = Path(picture.name).name
                if choosing and st.checkbox(plain(label), key=f"{key}.{picture.name}"):
                    chosen.append(picture.name)
    return chosen


def show(path: Path, t: Texts, side: int = SIDE) -> None:
    """Show one thumbnail, or say that the file cannot be read."""
    found = thumbnail(path, side)
    if found is None:
        st.caption(t("common.unreadable"))
    else:
        st.image(found, width="stretch")


def strip(paths: Sequence[Path]) -> None:
    """Show a few small pictures in a row, as one picture that shrinks where there is no room."""
    st.image(in_a_row(tuple(paths)), width="content")
