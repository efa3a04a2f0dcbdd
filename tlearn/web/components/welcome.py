"""What a first visitor sees: what this is for, in three steps."""

import html

import streamlit as st

from tlearn.web.words import t

STEPS = ("data", "train", "predict")


def welcome() -> None:
    """Say what the pages are for, and show the three steps."""
    st.title(t("common.purpose"), anchor=False)
    cards = "".join(
        f'<li><span class="number">{i}</span><span><b>{html.escape(t(f"common.step_{name}"))}</b>'
        f"<br>{html.escape(t(f'common.about_{name}'))}</span></li>"
        for i, name in enumerate(STEPS, 1)
    )
    st.html(f'<ol class="tlearn-steps">{cards}</ol>')
