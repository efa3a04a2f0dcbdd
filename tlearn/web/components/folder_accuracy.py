"""How right a run is about photos that came in folders named after their classes."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from tlearn.runs.measurement import FEW, confused_pairs, interval
from tlearn.text import percent
from tlearn.web.components.confusion_view import show_confusion
from tlearn.web.components.scans import wait_for
from tlearn.web.prediction_process import PredictionTask
from tlearn.web.words import accuracy_words, escape_markdown, message, t

PAIRS = 5  # pairs of classes that are named


def show_folder_accuracy(current: PredictionTask) -> None:
    """Show the accuracy with its interval, what was not counted, and the most confused classes."""
    task = current.evaluated()
    if not wait_for(task, t("predict.measuring")):
        return
    if task.problem:
        st.caption(f"{t('predict.not_measured')} {escape_markdown(message(task.problem))}")
        return
    found: Mapping[str, Any] = task.result
    accuracy, n = found["accuracy"], found["n"]
    with st.container(border=True, gap="small"):
        st.markdown(f"**{t('predict.accuracy')}: {accuracy_words(accuracy, n)}**")
        if n < FEW:
            low, high = map(percent, interval(accuracy, n))
            st.markdown(t("results.few", low=low, high=high))
        for line in _not_counted(found):
            st.caption(line)
        pairs = confused_pairs(found)
        if not pairs:
            return
        st.markdown(f"**{t('results.most_confused')}**")
        for true, predicted, count in pairs[:PAIRS]:
            names = {"true": escape_markdown(true), "predicted": escape_markdown(predicted)}
            st.markdown(f"- {t('results.cell', **names, count=count)}")
        if len(pairs) > 1:
            with st.expander(t("results.confusion")):
                show_confusion(found, "predict.confusion")


def _not_counted(found: Mapping[str, Any]) -> list[str]:
    """Return lines on what does not count, or counts only in part."""
    unknown: Mapping[str, int] = found["unknown"]
    names = escape_markdown(", ".join(list(unknown)[:PAIRS]))
    counts = {
        "trained_on": found["trained_on"],
        "selected_on": found["selected_on"],
        "unknown_class": sum(unknown.values()),
        "not_read": len(found["unreadable"]),
    }
    return [t(f"predict.{key}", count=n, names=names) for key, n in counts.items() if n]
