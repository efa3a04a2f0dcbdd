"""The web page: ``streamlit run streamlit_app.py``, or ``tlearn ui``."""

import streamlit as st

from tlearn.web.server import SCRIPT, arguments

app = st.App(SCRIPT, **arguments())
