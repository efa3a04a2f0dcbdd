"""``tlearn plugins``, ``tlearn plugins check`` and ``tlearn plugins new``."""

import json
from pathlib import Path
from typing import Any

import click

from tlearn.backbones import Backbone, Plugin, load_registry
from tlearn.backbones.plugin_sources import DISABLED, disabled_names
from tlearn.backbones.registry import KINDS
from tlearn.cli.console import fail
from tlearn.cli.options import JSON, path_option

FAILED = 1  # the exit code for checks that failed: nothing was wrong with the command


@click.group(invoke_without_command=True)
@JSON
@click.pass_context
def plugins(ctx: click.Context, as_json: bool) -> None:
    """List the plugins, what they offer, and what is wrong with them."""
    if ctx.invoked_subcommand is not None:
        return
    installed = load_registry().plugins
    if as_json:
        print(json.dumps([_record(p) for p in installed], indent=2, ensure_ascii=False))
        return
    for plugin in installed:
        print(f"{plugin.name:<18} {plugin.distribution} {plugin.version}".rstrip())
        print("".join(f"{'':<18} {line}\n" for line in _offers(plugin)), end="")
    unknown = disabled_names() - {name for p in installed for name in (p.name, p.distribution)}
    if unknown:
        print(f"{DISABLED} names {', '.join(sorted(unknown))}, which is not installed")


def _offers(plugin: Plugin) -> list[str]:
    if plugin.disabled:
        return ["DISABLED by TLEARN_DISABLE_PLUGINS"]
    if plugin.problem:
        return [f"UNUSABLE: {plugin.problem}"]
    lines = [
        f"{word}s: {', '.join(offer.name for offer in getattr(plugin, kind))}"
        for kind, (_, word) in KINDS.items()
        if getattr(plugin, kind)
    ]
    more = {
        "tlearn_callbacks": "callbacks in training",
        "tlearn_rules": "rules in training",
        "tlearn_commands": "commands",
    }
    return lines + [what for hook, what in more.items() if hook in plugin.implemented]


def _record(plugin: Plugin) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        **{kind: [offer.name for offer in getattr(plugin, kind)] for kind in KINDS},
        "hooks": list(plugin.implemented),
        "disabled": plugin.disabled,
        "problem": plugin.problem,
    }


@plugins.command()
@click.argument("name")
@JSON
def check(name: str, as_json: bool) -> int:
    """Check NAME: a backbone, or all backbones of a plugin.

    The exit code is 1 if a check fails.
    """
    registry = load_registry()
    offered = next((p.backbones for p in registry.plugins if p.name == name and p.backbones), ())
    chosen = (registry.get(name),) if name in registry.backbones or not offered else offered
    failed = [b.name for b in chosen if not _passes(b, as_json)]
    if failed:
        fail(f"{', '.join(failed)} failed; fix the failures above and check again")
    return FAILED if failed else 0


def _passes(backbone: Backbone, as_json: bool) -> bool:
    """Run and print every check of a backbone; return whether none failed."""
    from tlearn.testing import run_checks

    if not as_json:
        print(f"{backbone.name}:")
    passes = True
    first: dict[str, str] = {}  # the check that failed first, by reason
    for outcome in run_checks(backbone):
        failed = outcome.state == "failed"
        passes = passes and not failed
        if as_json:
            print(json.dumps({"backbone": backbone.name, **vars(outcome)}), flush=True)
            continue
        check = first.setdefault(outcome.reason, outcome.check)
        reason = f"as {check}" if failed and check != outcome.check else outcome.reason
        state = outcome.state.upper() if failed else outcome.state
        print(f"  {state:<8}{outcome.check}{f': {reason}' if reason else ''}", flush=True)
    return passes


@plugins.command()
@click.argument("name")
@path_option("--out", "FOLDER", "The folder to make [tlearn-NAME].")
def new(name: str, out: Path | None) -> None:
    """Write a package with a backbone called NAME, complete and correct, for you to change."""
    from tlearn.backbones.scaffold import new_plugin

    registry = load_registry()
    if name in registry.backbones:
        raise click.UsageError(
            f"the backbone name {name!r} is taken by {registry.plugin_of(name)}; choose another"
        )
    folder = new_plugin(name, out)
    print(
        f"written to {folder}; next:\n  pip install -e '{folder}[test]'\n"
        f"  tlearn plugins check {name}\n  edit {folder / f'tlearn_{name}.py'}"
    )
