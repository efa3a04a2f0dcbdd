"""Train: choose a backbone and how long, start, watch."""

from collections.abc import Mapping

import streamlit as st

from tlearn.backbones import Preset, load_registry
from tlearn.backbones.availability import backbones_with_weights, missing_weights
from tlearn.backbones.plugin_sources import folder_options
from tlearn.config import RunConfig
from tlearn.data.scan import Manifest
from tlearn.errors import BackboneError, DataError, TlearnError
from tlearn.runs.directory import free_name
from tlearn.settings import to_command, to_yaml
from tlearn.web.components.backbone_cards import Offers, show_backbone, show_others
from tlearn.web.components.config_options import config_from, options
from tlearn.web.components.job_list import queue
from tlearn.web.components.scans import is_over, manifest_of, show_counts
from tlearn.web.components.session import choose_data, page_button, showing_errors, steps, workspace
from tlearn.web.components.split_table import split_task
from tlearn.web.words import escape_markdown, message, preset_name, t

FIRST = "auto quick balanced best".split()  # presets in this order, then what plugins offer


def show() -> None:
    """Show the trainings under way, and what can be chosen for another."""
    st.title(t("train.title"), anchor=False)
    steps("train")
    queue()
    names = workspace().data_sets()
    if not names:
        st.info(t("train.empty"))
        page_button("data", t("train.go_data"), primary=True)
        return
    with st.container(width=480):
        data = choose_data()
    if data is None:
        return
    with showing_errors():
        manifest = manifest_of(data)
        if manifest is not None:
            _ask(data, manifest)


def _ask(data: str, manifest: Manifest) -> None:
    """Show what can be chosen, and the button that starts it."""
    show_counts(manifest)
    left, network = st.columns((3, 2), gap="medium")
    presets, start = left.container(), left.container()
    others = st.container()
    entered, places = options()
    problem, images, registry = None, None, load_registry()
    names = registry.offered("presets")
    try:
        configs = {name: config_from({**entered, "preset": name}) for name in names}
        one = next(iter(configs.values()))
        drawn = split_task(manifest, one.val, one.test, one.seed)
        if is_over(drawn):
            if drawn.problem:
                raise DataError(drawn.problem)
            images, _ = drawn.result
    except TlearnError as error:
        problem = error
        configs = {name: config_from({"preset": name}) for name in names}
    runs = [run.path for run in workspace().run_store.runs() if run.usable]
    offers = Offers(registry, runs, images)
    with presets:
        preset = _preset(names, offers.times(configs))
    with network:
        show_backbone(offers, configs[preset])
    with others:
        show_others(offers, configs[preset])
    config = configs[preset]
    if problem is None:
        config = config_from({**entered, "preset": preset, "backbone": offers.chosen.name})
        try:
            if config.tensorboard:
                logs = str(workspace().log_folder(config.tensorboard))
                config = config.model_copy(update={"tensorboard": logs})
            backbone, _ = registry.check(config)
            if reason := missing_weights(backbone, config.weights):
                usable = ", ".join(backbones_with_weights()) or "-"
                words = {"name": backbone.name, "reason": message(reason), "backbones": usable}
                raise BackboneError(t("train.weights_missing", **words), "weights")
        except TlearnError as error:
            problem = error
    with start:
        if problem is not None:  # at the field that it is about, if that was filled in, or here
            keys = [key for key in places if f"{problem.key}.".startswith(f"{key}.")]
            at_field = bool(keys and entered[keys[0]])
            place = places[keys[0]] if at_field else st
            place.error(escape_markdown(message(str(problem))))
            if at_field:
                st.caption(t("train.error_in_options"))
        name = _start(data, config, ready=problem is None)
    if problem is None:
        _command(data, config, name)


def _preset(presets: Mapping[str, Preset], times: Mapping[str, str]) -> str:
    """Show the presets with what each takes; return the one chosen."""
    names = sorted(presets, key=lambda name: FIRST.index(name) if name in FIRST else 99)
    default = RunConfig().preset

    def words(name: str) -> str:
        summary = (
            t(f"train.preset_{name}") if name in FIRST else escape_markdown(presets[name].summary)
        )
        return f"{times[name]} · {summary}" if name in times else summary

    chosen = st.radio(
        t("train.preset"),
        names,
        names.index(default) if default in names else 0,
        key="option.preset",
        persist_state="session",
        format_func=preset_name,
        captions=[words(name) for name in names],
    )
    return str(chosen)


def _start(data: str, config: RunConfig, ready: bool) -> str:
    """Show a field for the name of the run, and the button; return the name."""
    here = workspace()
    default = free_name(data.replace("/", "-"), here.runs).name
    number = st.session_state.setdefault("train.number", 0)  # each training has its own field
    with st.container(horizontal=True, vertical_alignment="bottom"):
        typed = st.text_input(
            t("train.name"),
            placeholder=default,
            max_chars=80,
            width=280,
            key=f"train.name.{number}",
        ).strip()
        pressed = st.button(
            t("train.start"), type="primary", icon=":material/play_arrow:", disabled=not ready
        )
    if pressed:
        with showing_errors():
            if typed:
                here.new_run(typed)
            base = typed or data.replace("/", "-")
            here.queue.submit(here.data_set(data), config, base, numbered=not typed)
            st.session_state["train.number"] += 1
            st.rerun()
    return typed or default


def _command(data: str, config: RunConfig, name: str) -> None:
    """Show the same as a command, and as a configuration where it is not the default one."""
    here = workspace()
    icon, key = ":material/terminal:", "train.command"
    with st.expander(t("train.command"), icon=icon, key=key, on_change="rerun") as fold:
        if not fold.open:
            return
        command = to_command(config, here.data_set(data), here.runs / name, folder_options())
        st.code(command, language="sh", wrap_lines=True)
        if config != RunConfig():
            st.code(to_yaml(config), language="yaml")
