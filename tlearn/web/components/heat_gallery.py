"""Photos with what the model looked at, and the training photos that are most like them."""

from collections.abc import Sequence

import streamlit as st

from tlearn.data.packed_photos import photo_path
from tlearn.data.thumbnails import thumbnail_url
from tlearn.runs.predictions import HeldOutPrediction
from tlearn.runs.run import Run
from tlearn.text import decode_name, percent
from tlearn.web.components.gallery import PER_PAGE, show
from tlearn.web.components.scans import wait_for
from tlearn.web.components.session import pages_of, workspace
from tlearn.web.run_work import forget, heat_maps
from tlearn.web.words import escape_markdown, message, t

PIXELS = 240
NEAR = 72  # pixels of a training photo
NEIGHBOURS = 3


@st.fragment
def heat_gallery(run: Run, predictions: Sequence[HeldOutPrediction], key: str) -> None:
    """Show a page of photos with heat maps; they are computed when they are first looked at."""
    shown = [predictions[i] for i in pages_of(f"{key}.heat_page", len(predictions), PER_PAGE)]
    paths = [photo_path(run.photo_folder, decode_name(one.file)) for one in shown]
    task = heat_maps(run.path, paths, workspace().scratch)
    if not wait_for(task, t("results.heat_wait")):
        return
    if task.problem:
        st.warning(escape_markdown(message(task.problem)))
        forget(task)
        return
    with st.container(horizontal=True, gap="medium"):
        for path, one in zip(paths, shown, strict=True):
            with st.container(width=PIXELS, gap="small"):
                found = task.result.get(path)
                show(found.picture if found else path, PIXELS)
                st.caption(_caption(one))
                if found is None:
                    continue
                nearest = found.neighbours[:NEIGHBOURS]
                urls = [thumbnail_url(photo, NEAR) for photo, _ in nearest]
                near = [f"![]({url})" for url in urls if url]
                names = ", ".join(escape_markdown(label) for _, label in nearest)
                st.caption(t("results.nearest", names=names))
                if near:
                    st.markdown(" ".join(near))


def _caption(one: HeldOutPrediction) -> str:
    values = {"predicted": one.predicted, "label": one.label}
    names = {name: escape_markdown(text) for name, text in values.items()}
    return t("results.speaks_for", probability=percent(one.probability), **names)
