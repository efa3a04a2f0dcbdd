"""The backbone of a training and the others that are installed, with what each would cost here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from tlearn.backbones import Backbone, load_registry
from tlearn.config import RunConfig
from tlearn.progress import format_bytes
from tlearn.web.components.session import workspace
from tlearn.web.words import duration, escape_markdown, message, t

WIDTH = 255  # pixels of a card: four in a row on a usual screen
EVERY = 2.0  # seconds between two looks at what was measured
CHOSEN, OPEN = "train.backbone", "train.others"  # in the session: the backbone, the fold
Configs = Mapping[str, RunConfig]  # what would be trained, by preset


def chosen_backbone() -> str:
    """Return the backbone chosen on the page, or the default, or the first that can be used."""
    backbones, default = load_registry().backbones, RunConfig().backbone
    if st.session_state.get(CHOSEN) not in backbones:
        first = next(iter(backbones), default)
        st.session_state[CHOSEN] = default if default in backbones else first
    return str(st.session_state[CHOSEN])


def times_by_preset(digest: str, configs: Configs) -> dict[str, str]:
    """Say what a training with the chosen backbone takes, by preset, where it is known."""
    planner, backbone = workspace().planner, chosen_backbone()
    rows = {
        preset: planner.known(digest, config).get(backbone) for preset, config in configs.items()
    }
    return {preset: _time(row) for preset, row in rows.items() if row and not row["problem"]}


def show_backbones(data: Path, digest: str, configs: Configs, preset: str) -> None:
    """Show the chosen backbone, and the others as cards in a fold.

    The chosen one is measured, for every preset; the others when they are looked at. ``digest`` is
    that of the data, ``preset`` the one chosen.
    """
    backbones, chosen = load_registry().backbones, chosen_backbone()
    backbone, others = load_registry().get(chosen), sorted(backbones.keys() - {chosen})
    planner, config = workspace().planner, configs[preset]

    def measure() -> int:
        """Have the planner measure what is not known; return how many estimates that is."""
        wanted: list[tuple[RunConfig, Sequence[str]]] = [
            (configs[name], [chosen]) for name in sorted(configs, key=lambda name: name != preset)
        ]
        if st.session_state.get(OPEN):
            wanted.append((config, others))
        busy, count = bool(workspace().queue.jobs()), 0
        if busy:  # it would measure a machine that is busy, and slow it down
            planner.stop()
        for wanted_config, names in wanted:
            count += len(set(names) - planner.known(digest, wanted_config).keys())
            if not busy:
                planner.ask(data, digest, wanted_config, names)
        return count

    missing = measure()
    waits = missing and not workspace().queue.jobs()  # after a training the page is shown anew

    @st.fragment(run_every=EVERY if waits else None)
    def show() -> None:
        if chosen_backbone() != chosen or measure() != missing:
            st.rerun()  # the times beside the presets change, too
        known = planner.known(digest, config)
        with st.container(border=True, gap="small"):
            facts = " · ".join(_facts(backbone, known.get(chosen, {})))
            st.markdown(f"{t('train.backbone')}: **{escape_markdown(chosen)}** · {facts}")
            if not known.get(chosen, {"sure": True})["sure"]:
                st.caption(t("train.busy"))
            if missing:
                problem = planner.problem(digest, config)
                later = escape_markdown(message(problem)) or t("train.measure_later")
                st.caption(t("train.measuring") if planner.measuring else later)
        with st.expander(t("train.others"), key=OPEN, on_change="rerun") as fold:
            if fold.open:
                with st.container(horizontal=True):
                    for name in others:
                        _card(backbones[name], known.get(name, {}))

    show()


def _time(known: Mapping[str, Any]) -> str:
    time = f"**{t('train.about', time=duration(known['seconds']))}**"
    return time if known["sure"] else f"{time} ({t('train.unsure')})"


def _card(backbone: Backbone, known: dict[str, Any]) -> None:
    with st.container(border=True, width=WIDTH, height="stretch"):
        st.markdown(f"**{escape_markdown(backbone.name)}**")
        st.caption(escape_markdown(message(backbone.summary)))
        st.markdown("  \n".join(_facts(backbone, known)))
        st.space("stretch")  # the buttons of a row are level
        st.button(
            t("train.choose"),
            f"card.{backbone.name}",
            on_click=_choose,
            args=(backbone.name,),
            width="stretch",
            help=backbone.name,
        )


def _choose(name: str) -> None:
    """Choose a backbone, and close the fold: what was chosen is seen above it."""
    st.session_state.update({CHOSEN: name, OPEN: False})


def _facts(backbone: Backbone, known: dict[str, Any]) -> list[str]:
    weights = backbone.weights[0] if backbone.weights else None
    facts = [f"{backbone.default_size} px"]
    if weights is None:
        facts.append(t("train.no_weights"))
    elif weights.on_this_machine is False:
        facts.append(f":orange[{t('train.weights_elsewhere')}]")
    elif weights.on_this_machine:
        facts.append(t("train.weights_present"))
    if not known or known["problem"]:
        return [*facts, escape_markdown(message(known["problem"]))] if known else facts
    parameters = t("train.parameters", n=f"{known['parameters'] / 1e6:.1f}")
    return [
        _time(known),
        *facts,
        f"{parameters} · {t('train.disk', size=format_bytes(known['bytes']))}",
    ]
