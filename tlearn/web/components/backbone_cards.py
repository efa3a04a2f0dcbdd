"""The installed backbones as cards, with what each would cost here."""

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from tlearn.backbones import Backbone, load_registry
from tlearn.config import RunConfig
from tlearn.data.scan import Manifest
from tlearn.progress import format_bytes
from tlearn.web.components.job_list import duration
from tlearn.web.components.session import plain, workspace
from tlearn.web.i18n import Texts
from tlearn.web.planner import Planner

WIDTH = 262  # pixels of a card


@cache
def planner(runs: Path) -> Planner:
    """Return what measures the costs."""
    return Planner(runs)


def choose_backbone(t: Texts, data: str, manifest: Manifest, config: RunConfig) -> str:
    """Show a card for each installed backbone; return the name of the one chosen."""
    backbones = load_registry().backbones
    state = st.session_state
    if state.get("train.backbone") not in backbones:
        state["train.backbone"] = RunConfig().backbone
    st.subheader(t("train.backbone"), anchor=False)
    folder = workspace().data_set(data)

    def ask() -> dict[str, dict[str, Any]]:
        measures = planner(workspace().runs)
        if workspace().queue.jobs():  # it would measure a machine that is busy, and slow it down
            measures.stop()
        else:
            measures.ask(folder, manifest.digest, config, backbones)
        return measures.known(folder, manifest.digest, config)

    @st.fragment(run_every=2.0 if len(ask()) < len(backbones) else None)
    def cards() -> None:
        known = ask()
        measuring = planner(workspace().runs).measuring
        if len(known) < len(backbones):
            problem = planner(workspace().runs).problem(manifest.digest, config)
            busy = t("train.measuring") if measuring else problem or t("train.measure_later")
            st.caption(busy)
        order = sorted(backbones.values(), key=lambda b: (b.name != RunConfig().backbone, b.name))
        with st.container(horizontal=True):
            for backbone in order:
                _card(t, backbone, known.get(backbone.name, {}))

    cards()
    return str(state["train.backbone"])


def _card(t: Texts, backbone: Backbone, known: dict[str, Any]) -> None:
    chosen = st.session_state["train.backbone"] == backbone.name
    with st.container(border=True, width=WIDTH, height="stretch"):
        st.markdown(f"**{plain(backbone.name)}**")
        st.caption(plain(backbone.summary))
        st.markdown(_facts(t, backbone, known))
        label = t("train.chosen") if chosen else t("train.choose")
        if st.button(
            label,
            key=f"card.{backbone.name}",
            type="primary" if chosen else "secondary",
            icon=":material/check:" if chosen else None,
            width="stretch",
            help=backbone.name,
        ):
            st.session_state["train.backbone"] = backbone.name
            st.rerun()


def _facts(t: Texts, backbone: Backbone, known: dict[str, Any]) -> str:
    weights = backbone.weights[0] if backbone.weights else None
    licence = plain(weights.licence) if weights else t("train.no_weights")
    facts = [f"{backbone.default_size} px · {licence}"]
    if weights and weights.on_this_machine is False:
        facts.append(t("train.weights_elsewhere"))
    if known.get("problem"):
        return "  \n".join([*facts, plain(known["problem"])])
    if not known:
        return "  \n".join([*facts, "…", "…"])
    facts.append(
        t(
            "train.speed",
            rate=f"{known['images_per_second']:.3g}",
            parameters=f"{known['parameters'] / 1e6:.1f}",
        )
    )
    time = duration(t, known["seconds"])
    facts.append(f"**{t('train.about')} {time}** · {format_bytes(known['bytes'])}")
    if not known.get("sure", True):
        facts.append(t("train.unsure"))
    return "  \n".join(facts)
