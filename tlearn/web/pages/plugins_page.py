"""Plugins: what is installed, from which package, and what failed and why."""

import streamlit as st

from tlearn.backbones import Plugin, load_registry
from tlearn.web.words import escape_markdown, message, t

KINDS = ("backbones", "presets", "exporters", "reports")


def show() -> None:
    """Show every plugin with what it offers, or why it could not be used."""
    st.title(t("plugins.title"), anchor=False)
    st.markdown(t("plugins.hint"))
    registry = load_registry()
    for plugin in registry.problems:
        facts = {"name": plugin.name, "package": _package(plugin)}
        facts["problem"] = message(plugin.problem)
        said = t("plugins.unusable", **{key: escape_markdown(text) for key, text in facts.items()})
        st.error(said, icon=":material/extension_off:")
    rows = [_row(plugin) for plugin in registry.plugins]
    with st.container(key="plugins"):
        st.table([{key: escape_markdown(text) for key, text in row.items()} for row in rows])
    st.subheader(t("plugins.backbones"), anchor=False)
    for name, backbone in sorted(registry.backbones.items()):
        with st.expander(name):
            st.markdown(escape_markdown(message(backbone.summary)))
            st.caption(escape_markdown(backbone.reference))
            st.markdown(t("plugins.size", default=backbone.default_size, least=backbone.min_size))
            for weights in backbone.weights:
                facts = {"name": weights.name, "source": weights.source}
                facts |= {"licence": weights.licence}
                st.markdown(
                    t("plugins.weights", **{k: escape_markdown(v) for k, v in facts.items()})
                )


def _row(plugin: Plugin) -> dict[str, str]:
    offers = [
        f"{t(f'plugins.{kind}')}: {', '.join(offer.name for offer in getattr(plugin, kind))}"
        for kind in KINDS
        if getattr(plugin, kind)
    ]
    state = "disabled" if plugin.disabled else "failed" if plugin.problem else "works"
    return {
        t("plugins.plugin"): plugin.name,
        t("plugins.package"): _package(plugin),
        t("plugins.state"): t(f"plugins.{state}"),
        t("plugins.offers"): "; ".join(offers),
    }


def _package(plugin: Plugin) -> str:
    return f"{plugin.distribution} {plugin.version}".strip()
