"""Galleries of photos."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from tlearn.data.packed_photos import photo_path
from tlearn.data.thumbnails import blank, preview, thumbnail
from tlearn.text import decode_name
from tlearn.web.components.ready_photos import ready_photos
from tlearn.web.components.session import pages_of
from tlearn.web.words import escape_markdown, t

PER_PAGE = 12
PIXELS = 160
LARGE = 1200  # pixels of the longer side of one that is enlarged


@dataclass(frozen=True)
class Picture:
    """A photo in a gallery.

    Attributes:
        folder: The folder that the name is below.
        name: Its name, as in a manifest, which stands for it in what is selected.
        caption: What stands below it, in full.
        short: The same where long names are shortened.
    """

    folder: Path
    name: str
    caption: str = ""
    short: str = ""

    @property
    def path(self) -> Path:
        """The file."""
        return photo_path(self.folder, decode_name(self.name))


def gallery(pictures: Sequence[Picture], key: str, selected: set[str] | None = None) -> None:
    """Show pictures, a page at a time; each can be enlarged.

    ``selected`` has the names of those that are selected and is kept up to date; without it, none
    can be.
    """
    shown = pages_of(f"{key}.page", len(pictures), PER_PAGE)
    ready = ready_photos([pictures[i].path for i in shown], PIXELS)
    with st.container(horizontal=True, gap="small", key=f"gallery.{key}"):
        for i in shown:
            _cell(pictures[i], key, i, selected, ready)
    show_enlarged(pictures, key)


def _cell(
    picture: Picture, key: str, i: int, selected: set[str] | None, ready: Container[Path]
) -> None:
    """Show one picture with what stands below it."""
    name = Path(picture.name).name
    with st.container(width=PIXELS, gap=None):
        if picture.path in ready:
            show(picture.path)
        else:
            st.image(blank(PIXELS), width="stretch")
        if picture.caption:
            short = picture.short or picture.caption
            whole = picture.caption if short != picture.caption else None
            st.caption(escape_markdown(short), help=whole)
        row = st.container(
            horizontal=True, gap="small", vertical_alignment="center", key=f"below.{key}.{i}"
        )
        with row:
            if selected is not None:
                tick = f"{key}.{picture.name}"
                st.session_state[tick] = picture.name in selected
                st.checkbox(
                    escape_markdown(name),
                    key=tick,
                    on_change=selected.symmetric_difference_update,
                    args=([picture.name],),
                )
            enlarge_button(key, i, name)


def enlarge_button(key: str, i: int, name: str) -> None:
    """Show the button that enlarges one of several pictures; ``name`` says which."""
    st.button(
        "",
        key=f"{key}.enlarge.{i}",
        icon=":material/zoom_in:",
        help=f"{t('data.enlarge')}: {name}",
        type="tertiary",
        on_click=st.session_state.update,
        args=({f"{key}.enlarged": i},),
    )


def show_enlarged(pictures: Sequence[Picture], key: str) -> None:
    """Show the picture that is to be enlarged, if one is, and the way to those beside it."""
    state, place = st.session_state, f"{key}.enlarged"
    if place not in state:
        return

    def content() -> None:
        i = min(state.get(place, 0), len(pictures) - 1)
        picture = pictures[i]
        photo = preview(picture.path, LARGE)
        if photo is None:
            st.caption(t("common.unreadable"))
        else:
            with st.container(horizontal=True, horizontal_alignment="center"):
                st.image(photo, width="content")
        words = " · ".join(map(escape_markdown, filter(None, (picture.name, picture.caption))))
        st.caption(words, text_alignment="center")
        with st.container(horizontal=True, horizontal_alignment="center"):
            for words, icon, to in (
                ("data.previous", ":material/chevron_left:", i - 1),
                ("data.next", ":material/chevron_right:", i + 1),
            ):
                st.button(
                    t(words),
                    icon=icon,
                    disabled=not 0 <= to < len(pictures),
                    on_click=state.update,
                    args=({place: to},),
                )

    title = f"{state[place] + 1} / {len(pictures)}"
    st.dialog(title, width="large", on_dismiss=lambda: state.pop(place, None))(content)()


def show(path: Path, pixels: int = PIXELS) -> None:
    """Show one thumbnail, or say that the file cannot be read."""
    image = thumbnail(path, pixels)
    if image is None:
        st.caption(t("common.unreadable"))
    else:
        st.image(image, width="stretch")
