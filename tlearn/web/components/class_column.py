"""The column of classes in a table."""

from collections.abc import Collection
from typing import Any

import streamlit as st

LONG, PIXELS = 24, 180  # characters of a long name, and pixels of the column then


def class_column(labels: Collection[str]) -> Any:
    """Return how wide the column is, so that long names leave room for the others on a phone."""
    long = any(len(label) > LONG for label in labels)
    return st.column_config.Column(width=PIXELS if long else None)
