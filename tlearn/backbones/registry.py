"""Finds the installed backbones through the entry-point group ``tlearn``."""

import importlib.metadata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import ModuleType

import pluggy

from tlearn.backbones import hookspecs
from tlearn.backbones.spec import Backbone
from tlearn.errors import BackboneError, nearest, one_line

GROUP = "tlearn"


@dataclass(frozen=True)
class Plugin:
    """One entry point: what it offers, or why it could not be used."""

    name: str
    distribution: str
    version: str
    backbones: tuple[Backbone, ...] = ()
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} ({self.name})"


@dataclass(frozen=True)
class Registry:
    """All plugins found, working or not."""

    plugins: tuple[Plugin, ...]

    @property
    def backbones(self) -> dict[str, Backbone]:
        """The usable backbones by name, sorted."""
        found = {b.name: b for plugin in self.plugins for b in plugin.backbones}
        return dict(sorted(found.items()))

    @property
    def problems(self) -> tuple[Plugin, ...]:
        """The plugins that could not be used."""
        return tuple(plugin for plugin in self.plugins if plugin.problem)

    def plugin_of(self, backbone: str) -> Plugin:
        """Return the plugin that offers ``backbone``."""
        return next(p for p in self.plugins if any(b.name == backbone for b in p.backbones))

    def get(self, name: str) -> Backbone:
        """Return the backbone called ``name``.

        Raises:
            BackboneError: If there is none; the message lists those there are.
        """
        known = self.backbones
        if name in known:
            return known[name]
        broken = "".join(f"; plugin {p} is unusable: {p.problem}" for p in self.problems)
        raise BackboneError(
            f"no backbone is called {name!r}{nearest(name, known)}; "
            f"installed: {', '.join(known) or 'none'}{broken}"
        )


def load_registry() -> Registry:
    """Import every plugin and collect what it offers.

    A plugin that fails to import, misspells a hook, returns something else than backbones, none
    at all, or a name that is taken is kept with its problem; the others are not touched by it.
    pluggy's own loader stops at the first failure and hides one of two equal names, so entry
    points are walked here.
    """
    plugins: list[Plugin] = []
    owners: dict[str, Plugin] = {}
    found = importlib.metadata.entry_points(group=GROUP)
    for entry in sorted(set(found), key=lambda e: (e.name, e.value, _distribution(e))):
        plugin = Plugin(entry.name, *_distribution(entry))
        try:
            backbones = _offered(entry.load())
            for backbone in backbones:
                if backbone.name in owners:
                    raise BackboneError(
                        f"the backbone name {backbone.name!r} is taken by {owners[backbone.name]}"
                    )
        # A stranger's import can raise anything; whatever it is must not lose the other plugins.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            problem = f"{type(error).__name__}: {one_line(error)}"
            plugins.append(replace(plugin, problem=problem))
            continue
        plugin = replace(plugin, backbones=backbones)
        owners.update(dict.fromkeys((b.name for b in backbones), plugin))
        plugins.append(plugin)
    return Registry(tuple(plugins))


def _distribution(entry: importlib.metadata.EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist else ("unknown", "0")


def _offered(module: ModuleType) -> tuple[Backbone, ...]:
    """Call the module's hook on a manager of its own and flatten what it returns."""
    manager = pluggy.PluginManager("tlearn")
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    manager.check_pending()
    backbones: list[Backbone] = []
    for answer in manager.hook.tlearn_backbones():
        several = [answer] if isinstance(answer, Backbone) else answer
        if not isinstance(several, Iterable) or isinstance(several, str):
            several = [several]
        for one in several:
            if not isinstance(one, Backbone):
                raise BackboneError(
                    f"tlearn_backbones must return Backbone objects, it returned {one!r}"
                )
            backbones.append(one)
    if not backbones:
        raise BackboneError("it offers no backbone; mark the function tlearn_backbones @hookimpl")
    names = [b.name for b in backbones]
    if len(set(names)) < len(names):
        raise BackboneError(f"it offers one name twice: {', '.join(names)}")
    return tuple(backbones)
