"""Galleries of photos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from tlearn.data.thumbnails import thumbnail
from tlearn.web.components.session import pages_of
from tlearn.web.words import escape_markdown, t

PER_PAGE = 24
PIXELS = 160


@dataclass(frozen=True)
class Picture:
    """A photo in a gallery.

    Attributes:
        path: The file.
        name: What stands for it in what is selected.
        caption: What stands below it.
    """

    path: Path
    name: str
    caption: str = ""


def gallery(pictures: Sequence[Picture], key: str, selected: set[str] | None = None) -> None:
    """Show pictures, a page at a time.

    ``selected`` has the names of those that are selected and is kept up to date; without it, none
    can be.
    """
    shown = pages_of(f"{key}.page", len(pictures), PER_PAGE)
    with st.container(horizontal=True, gap="small"):
        for picture in (pictures[i] for i in shown):
            with st.container(width=PIXELS, gap=None):
                show(picture.path)
                if picture.caption:
                    st.caption(escape_markdown(picture.caption))
                if selected is not None:
                    tick = f"{key}.{picture.name}"
                    st.session_state[tick] = picture.name in selected
                    st.checkbox(
                        escape_markdown(Path(picture.name).name),
                        key=tick,
                        on_change=selected.symmetric_difference_update,
                        args=([picture.name],),
                    )


def show(path: Path, pixels: int = PIXELS) -> None:
    """Show one thumbnail, or say that the file cannot be read."""
    image = thumbnail(path, pixels)
    if image is None:
        st.caption(t("common.unreadable"))
    else:
        st.image(image, width="stretch")
