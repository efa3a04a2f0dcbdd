"""Texts in the browser's language, and values in words."""

import os
import unicodedata
from pathlib import PurePath
from typing import Any

import streamlit as st

from tlearn.runs.measurement import FEW, interval
from tlearn.text import percent
from tlearn.web.i18n import Texts, texts_for
from tlearn.web.workspace import Workspace

ISOLATE, END = "\u2068", "\u2069"  # a part of a text whose direction does not spread
LTR = "\u2066"  # the same, of a part that begins at the left


def texts() -> Texts:
    """Return the texts in the browser's language."""
    return texts_for(st.context.locale)


def t(key: str, **values: Any) -> str:
    """Return a text in the browser's language, such as ``t("data.photos", count=3)``."""
    return texts()(key, **values)


def message(text: str) -> str:
    """Return an error or a reason in the browser's language, without where data and runs are."""
    here = Workspace.from_environment()
    for root in (here.data, here.runs):
        text = text.replace(f"{root}{os.sep}", "")
    return texts().message(text)


def escape_markdown(text: str) -> str:
    r"""Return text for Markdown as it stands: names may hold anything."""
    escaped = "".join(f"\\{c}" if c in r"\`*_{}[]()#+-.!|<>~$:^" else c for c in text)
    return isolate(escaped)


def isolate(text: str) -> str:
    """Return text that does not turn the text around it, where it is written from the right.

    Of a path each part, so that the folder stands before the file, and the ending after its name.
    """
    whole = ISOLATE in text or LTR in text  # a sentence with such parts
    return "/".join(map(_isolated, [text] if whole else text.split("/")))


def _isolated(part: str) -> str:
    if not any(unicodedata.bidirectional(char) in ("R", "AL") for char in part):
        return part
    return f"{LTR if PurePath(part).suffix else ISOLATE}{part}{END}"


def chart_words() -> dict[str, str]:
    """Return the words of charts."""
    words = [key.removeprefix("chart.") for key in texts().words if key.startswith("chart.")]
    return {word: t(f"chart.{word}") for word in words}


def preset_name(preset: str) -> str:
    """Return what the page calls a preset; one of a plugin has its own name."""
    return texts().words.get(f"train.name_{preset}", preset)


def check_name(check: str) -> str:
    """Return what the page calls a check of a data set, such as ``suspect label``."""
    key = "".join(char if char.isalnum() else "_" for char in check.lower())
    return texts().words.get(f"check.{key}", check)


def duration(seconds: float) -> str:
    """Return a time in words, such as ``24 s`` or ``5 min``."""
    if seconds < 100:
        return t("job.seconds", n=max(1, round(seconds)))
    return t("job.minutes", n=round(seconds / 60))


def accuracy_words(accuracy: float, images: int) -> str:
    """Return an accuracy in words: how many were right, and of many the 95% interval."""
    numbers = {"right": round(accuracy * images), "all": f"{images:,}"}
    if images < FEW:
        return t("results.right", **numbers)
    low, high = map(percent, interval(accuracy, images))
    between = t("common.between", low=low, high=high)
    return t("results.right_share", part=percent(accuracy), between=between, **numbers)
