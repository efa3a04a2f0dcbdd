"""Train: choose a backbone and how long, start, watch."""

import streamlit as st

from tlearn.app.form import config_from
from tlearn.app.parts.backbones import choose_backbone, planner
from tlearn.app.parts.here import choose_data, go, places, plain, problems, texts
from tlearn.app.parts.options import options
from tlearn.app.parts.queue import queue
from tlearn.app.parts.waiting import manifest_of
from tlearn.app.texts import Texts
from tlearn.backbones import load_registry
from tlearn.config import RunConfig
from tlearn.data.names import clean_name
from tlearn.data.scan import Manifest
from tlearn.runs.directory import free_name
from tlearn.settings import to_command, to_yaml

FIRST = "quick balanced best".split()  # presets in this order, then what plugins offer


def show() -> None:
    """Show the page."""
    t = texts()
    st.title(t("train.title"), anchor=False)
    queue(t)
    names = places().data_sets()
    if not names:
        st.info(t("train.empty"))
        if st.button(t("train.go_data"), type="primary", icon=":material/photo_library:"):
            go("data")
        return
    data = choose_data(t)
    if data is None:
        st.info(t("data.choose"))
        return
    with problems():
        manifest = manifest_of(t, data)
        if manifest is not None:
            _ask(t, data, manifest)


def _ask(t: Texts, data: str, manifest: Manifest) -> None:
    """Show what can be chosen, and the button that starts it."""
    st.markdown(t("data.counts", photos=f"{len(manifest.files):,}", classes=len(manifest.labels),
                  problems=len(manifest.problems)))  # fmt: skip
    preset = _preset(t)
    start = st.container()
    with st.expander(t("train.more"), icon=":material/tune:"):
        st.caption(t("train.more_hint"))
        entered = options(t)
    config = config_from({**entered, "preset": preset})
    backbone = choose_backbone(t, data, manifest, config)
    config = config_from({**entered, "preset": preset, "backbone": backbone})
    with start:
        _start(t, data, config)


def _preset(t: Texts) -> str:
    """Show the presets; return the one chosen."""
    policies = load_registry().offered("stage_policies")
    names = sorted(policies, key=lambda name: FIRST.index(name) if name in FIRST else 99)

    def words(name: str) -> str:
        return t(f"train.preset_{name}") if name in FIRST else plain(policies[name].summary)

    chosen = st.radio(
        t("train.preset"), names, index=names.index("balanced") if "balanced" in names else 0,
        format_func=lambda name: t(f"train.name_{name}") if name in FIRST else name,
        captions=[words(name) for name in names], horizontal=True,
    )  # fmt: skip
    return str(chosen)


def _start(t: Texts, data: str, config: RunConfig) -> None:
    here = places()
    default = free_name(data.replace("/", "-"), here.runs).name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(t("train.name"), placeholder=default, max_chars=80, width=280)
        pressed = st.button(t("train.start"), type="primary", icon=":material/play_arrow:")
    folder, run = here.data_set(data), here.runs / (name.strip() or default)
    with st.expander(t("train.command"), icon=":material/terminal:"):
        st.code(to_command(config, folder, run), language="sh", wrap_lines=True)
        st.code(to_yaml(config), language="yaml")
    if pressed:
        with problems():
            run = here.runs / clean_name(name.strip() or default).replace("/", "-")
            planner(here.runs).stop()
            here.queue.submit(folder, config, run)
            st.rerun()
