"""The backbone of a training and the others that are installed, with what each would cost here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from pathlib import Path

import streamlit as st

from tlearn.backbones import Backbone, Registry
from tlearn.config import RunConfig
from tlearn.data.layouts import Split
from tlearn.errors import TlearnError
from tlearn.progress import format_bytes
from tlearn.text import percent
from tlearn.training.expected_costs import (
    ExpectedCosts,
    expected_costs,
    family_of,
    speeds_of,
)
from tlearn.web.words import duration, escape_markdown, message, t

CHOSEN, OPEN = "train.backbone", "train.others"  # in the session: the backbone, the fold


@dataclass(frozen=True)
class Offers:
    """What can be trained, and what is known of its costs.

    Attributes:
        registry: The plugins.
        runs: The runs that say how fast this machine is, the latest first.
        images: How many images of each class are in each split; ``None`` where that is not known.
    """

    registry: Registry
    runs: Sequence[Path]
    images: Mapping[str, Mapping[Split, int]] | None

    @property
    def chosen(self) -> Backbone:
        """The backbone chosen on the page, or the default, or the first that can be used."""
        backbones, default = self.registry.backbones, RunConfig().backbone
        if st.session_state.get(CHOSEN) not in backbones:
            first = next(iter(backbones), default)
            st.session_state[CHOSEN] = default if default in backbones else first
        return self.registry.get(st.session_state[CHOSEN])

    def costs(self, backbone: Backbone, config: RunConfig) -> ExpectedCosts | None:
        """Return what a training is expected to cost; ``None`` where that cannot be told."""
        if self.images is None:
            return None
        preset, speeds = self.registry.preset(config.preset), speeds_of(backbone, self.runs)
        try:
            return expected_costs(backbone, preset, config, self.images, speeds)
        except TlearnError:  # the size does not fit this one, say; it is said once it is chosen
            return None

    def times(self, configs: Mapping[str, RunConfig]) -> dict[str, str]:
        """Say what a training with the chosen backbone takes, by preset, where it can be told."""
        costs = {name: self.costs(self.chosen, config) for name, config in configs.items()}
        return {name: f"**{_time(cost)}**" for name, cost in costs.items() if cost}


def show_backbone(offers: Offers, config: RunConfig) -> None:
    """Show the chosen backbone; that of the configuration, which would be trained, is ignored."""
    backbone = offers.chosen
    with st.container(border=True, gap="small"):
        st.markdown(f"{t('train.backbone')}: **{escape_markdown(backbone.name)}**")
        st.caption(escape_markdown(message(backbone.summary)))
        st.markdown("  \n".join(_facts(backbone, config, offers)))


def show_others(offers: Offers, config: RunConfig) -> None:
    """Show all backbones in a fold, a card for each family; see :func:`show_backbone`."""
    with st.expander(t("train.others"), key=OPEN, on_change="rerun") as fold:
        if fold.open:
            st.caption(t("train.others_hint"))
            with st.container(horizontal=True):
                for family in _families(offers.registry):
                    _card(family, config, offers)


def _families(registry: Registry) -> list[list[Backbone]]:
    """Return the backbones by plugin and family, both from the cheapest to the dearest."""

    def work(backbone: Backbone) -> float:
        return backbone.workload.multiply_adds if backbone.workload else 0.0

    families: dict[tuple[str, str], list[Backbone]] = {}
    for plugin in registry.plugins:
        for backbone in plugin.backbones:
            families.setdefault((plugin.name, family_of(backbone)), []).append(backbone)
    ranked = [sorted(family, key=work) for family in families.values()]
    return sorted(ranked, key=lambda family: work(family[0]))


def _card(family: Sequence[Backbone], config: RunConfig, offers: Offers) -> None:
    """Show a family: what it is, a choice among its widths or sizes, and what that costs."""
    names = [backbone.name for backbone in family]
    name = commonprefix(names).rstrip("_")  # noqa: RUF071 - of names, not of paths
    with st.container(border=True, width=320, height="stretch", gap="small"):
        st.markdown(f"**{escape_markdown(name)}**")
        backbone = family[0]
        if len(family) > 1:
            chosen = offers.chosen.name
            usual = chosen if chosen in names else min(names, key=len)
            which = st.selectbox(t("train.which"), names, names.index(usual), key=f"family.{name}")
            backbone = next(one for one in family if one.name == which)
        st.caption(escape_markdown(message(backbone.summary)))
        st.markdown("  \n".join(_facts(backbone, config, offers)))
        st.space("stretch")  # the buttons of a row are level
        st.button(
            t("train.choose"),
            f"card.{name}",
            on_click=_choose,
            args=(backbone.name,),
            width="stretch",
            disabled=backbone == offers.chosen,
        )


def _choose(name: str) -> None:
    """Choose a backbone, and close the fold: what was chosen is seen above it."""
    st.session_state.update({CHOSEN: name, OPEN: False})


def _time(costs: ExpectedCosts) -> str:
    low, high = duration(costs.least), duration(costs.seconds)
    between = t("common.between", low=low, high=high)
    return t("train.about", time=high if low == high else between)


def _facts(backbone: Backbone, config: RunConfig, offers: Offers) -> list[str]:
    """Return lines on what matters in a choice: accuracy, time and disk, size, weights."""
    weights = backbone.weights[0] if backbone.weights else None
    costs, work, lines = offers.costs(backbone, config), backbone.workload, []
    if weights and weights.accuracy is not None:
        lines.append(t("train.imagenet", part=percent(weights.accuracy)))
    if costs:
        disk = t("train.disk", size=format_bytes(costs.bytes))
        lines.append(f"**{_time(costs)}** · {disk}")
    elif work is None:
        lines.append(t("train.no_time"))
    size = f"{config.size or backbone.default_size} px"
    parameters = work and t("train.parameters", n=f"{work.parameters / 1e6:.1f}")
    lines.append(f"{parameters} · {size}" if parameters else size)
    if weights is None:
        lines.append(t("train.no_weights"))
    elif weights.on_this_machine is False:
        bytes_of = f" ({format_bytes(4 * work.parameters)})" if work else ""
        lines.append(f":orange[{t('train.weights_elsewhere')}{bytes_of}]")
    elif weights.on_this_machine:
        lines.append(t("train.weights_present"))
    return lines
