"""All plugins and what they offer; a failure of one affects no other."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from tlearn.backbones import hookspecs
from tlearn.backbones.contract import Backbone
from tlearn.backbones.extensions import Exporter, Preset, ReportSection
from tlearn.backbones.plugin_sources import DISABLED, disabled_names, sources
from tlearn.errors import BackboneError, ConfigError, PluginError, TlearnError, nearest, one_line

if TYPE_CHECKING:
    from tlearn.config import RunConfig, Stage

# What is offered as data: the hook's name after "tlearn_", what it returns, and a word for it.
KINDS: dict[str, tuple[type, str]] = {
    "backbones": (Backbone, "backbone"),
    "presets": (Preset, "preset"),
    "exporters": (Exporter, "export format"),
    "reports": (ReportSection, "report section"),
}
HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("tlearn_"))


@dataclass(frozen=True)
class Plugin:
    """One plugin: what it offers, or why it could not be used.

    Attributes:
        name: Of its entry point, or its file.
        distribution: The package it came with, or the path of its file.
        version: Of the package; empty for a file.
        backbones: What it offers, as are the next three.
        presets: Stages to train.
        exporters: Formats to export models in.
        reports: Sections of the report.
        implemented: Names of the hooks it implements.
        disabled: Whether the environment disables it.
        problem: Why it could not be used.
    """

    name: str
    distribution: str
    version: str
    backbones: tuple[Backbone, ...] = ()
    presets: tuple[Preset, ...] = ()
    exporters: tuple[Exporter, ...] = ()
    reports: tuple[ReportSection, ...] = ()
    implemented: tuple[str, ...] = ()
    disabled: bool = False
    problem: str = ""
    hook: Any = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} ({self.name})".replace("  ", " ")


@dataclass(frozen=True)
class Registry:
    """All plugins found, working or not."""

    plugins: tuple[Plugin, ...]

    def offered(self, kind: str) -> dict[str, Any]:
        """Return all that is offered of a kind of ``KINDS``, by name, sorted."""
        offers = {offer.name: offer for p in self.plugins for offer in getattr(p, kind)}
        return dict(sorted(offers.items()))

    @property
    def backbones(self) -> dict[str, Backbone]:
        """The usable backbones by name, sorted."""
        return self.offered("backbones")

    @property
    def problems(self) -> tuple[Plugin, ...]:
        """The plugins that could not be used."""
        return tuple(plugin for plugin in self.plugins if plugin.problem)

    def check(self, config: "RunConfig") -> tuple[Backbone, Preset]:
        """Return the backbone and the preset that a configuration names.

        Raises:
            BackboneError: If there is no such backbone, or it has no such size or weights.
            ConfigError: If there is no such preset, or nothing that ``skip_mismatch`` could skip.
        """
        backbone, preset = self.get(config.backbone), self.preset(config.preset)
        backbone.checked_size(config.size)
        weights = backbone.checked_weights(config.weights)
        if config.skip_mismatch and weights in ("none", *(w.name for w in backbone.weights)):
            raise ConfigError(
                f"skip_mismatch is for the weights of a file, not {weights!r}; give a file as "
                f"weights too, or leave it out",
                "skip_mismatch",
            )
        return backbone, preset

    def matching(self, pattern: str) -> dict[str, Backbone]:
        """Return the backbones whose names match a pattern with ``*`` and ``?``, by name.

        Raises:
            BackboneError: If there are none.
        """
        matches = {name: b for name, b in self.backbones.items() if fnmatchcase(name, pattern)}
        return matches or {pattern: self.get(pattern)}

    def plugin_of(self, backbone: str) -> Plugin:
        """Return the plugin that offers ``backbone``."""
        return next(p for p in self.plugins if any(b.name == backbone for b in p.backbones))

    def get(self, name: str) -> Backbone:
        """Return the backbone called ``name``.

        Raises:
            BackboneError: If there is none; the message lists those there are.
        """
        return self._chosen("backbones", name, BackboneError)  # type: ignore[no-any-return]

    def preset(self, name: str) -> Preset:
        """Return the preset called ``name``.

        Raises:
            ConfigError: If there is none; the message lists those there are.
        """
        return self._chosen("presets", name)  # type: ignore[no-any-return]

    def exporter(self, name: str) -> Exporter:
        """Return the export format called ``name``.

        Raises:
            ConfigError: If there is none; the message lists those there are.
        """
        return self._chosen("exporters", name)  # type: ignore[no-any-return]

    def _chosen(self, kind: str, name: str, error: type[TlearnError] = ConfigError) -> Any:
        known, (_, word) = self.offered(kind), KINDS[kind]
        if name in known:
            return known[name]
        broken = "".join(f"; the plugin {p} is unusable: {p.problem}" for p in self.problems)
        raise error(
            f"no {word} is called {name!r}{nearest(name, known)}; "
            f"installed: {', '.join(known) or 'none'}{broken}",
            kind.removesuffix("s"),
        )

    def callbacks(self, stage: "Stage", run: Path) -> list[Any]:
        """Return the Keras callbacks of all plugins for a stage.

        Raises:
            PluginError: If a plugin fails, or returns something else.
        """
        from tlearn.keras_import import keras

        kind, arguments = keras.callbacks.Callback, {"stage": stage, "run": run}
        answers = self._answers("tlearn_callbacks", kind, "Keras callbacks", arguments)
        return [callback for _, callback in answers]

    def _answers(
        self, hook: str, kind: type, words: str, arguments: Mapping[str, Any]
    ) -> Iterator[tuple[Plugin, Any]]:
        """Yield what plugins return for a stage, each with its plugin; refuse all but one kind."""
        for plugin in self.plugins:
            for one in _call_hook(plugin, hook, **arguments):
                if not isinstance(one, kind):
                    raise _failure(plugin, hook, f"it must return {words}, not {one!r}")
                yield plugin, one

    def add_commands(self, plugin: Plugin, cli: Any) -> None:
        """Let a plugin add its commands, if it has any, to a :class:`click.Group`.

        Raises:
            PluginError: If it fails to do so.
        """
        _call_hook(plugin, "tlearn_commands", cli=cli)


def load_registry() -> Registry:
    """Import every plugin and collect what it offers.

    A plugin that fails to import, misspells a hook, returns something else than it should, or
    offers nothing or a name that is taken is listed with its problem. pluggy's own loader stops at
    the first failure and hides one of two equal names, so each plugin has a manager of its own.
    """
    plugins: list[Plugin] = []
    disabled = disabled_names()
    for source in sources():
        plugin = Plugin(source.name, source.distribution, source.version)
        if {source.name, source.distribution} & disabled:
            plugins.append(replace(plugin, disabled=True))
            continue
        try:
            plugin = _with_offers(plugin, source.load())
            _refuse_taken(plugin, plugins)
        # A plugin's import can raise anything, and must not lose the other plugins.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            kind = "" if isinstance(error, PluginError) else f"{type(error).__name__}: "
            problem = f"{kind}{one_line(error)}"
            plugin = Plugin(source.name, source.distribution, source.version, problem=problem)
        plugins.append(plugin)
    return Registry(tuple(plugins))


def _with_offers(plugin: Plugin, module: ModuleType) -> Plugin:
    """Call the hooks of a module that return data."""
    manager = pluggy.PluginManager("tlearn")
    manager.add_hookspecs(hookspecs)
    manager.register(module)
    unmarked = [
        name
        for name, value in vars(module).items()
        if name in HOOKS and callable(value) and not hasattr(value, "tlearn_impl")
    ]
    if unmarked:
        raise PluginError(f"its {', '.join(unmarked)} is not marked @hookimpl")
    manager.check_pending()
    implemented = tuple(caller.name for caller in manager.get_hookcallers(module) or ())
    if not implemented:
        raise PluginError(f"it implements no hook; there are {', '.join(HOOKS)}")
    offers = {kind: _collect_offers(manager, kind) for kind in KINDS}
    if not any(offers.values()) and {f"tlearn_{kind}" for kind in KINDS} >= set(implemented):
        raise PluginError(f"it offers nothing: {', '.join(implemented)} returned none")
    return replace(plugin, implemented=implemented, hook=manager.hook, **offers)  # type: ignore[arg-type]


def _collect_offers(manager: pluggy.PluginManager, kind: str) -> tuple[Any, ...]:
    """Call the hook of a kind and flatten what it returns."""
    expected, _ = KINDS[kind]
    answers = getattr(manager.hook, f"tlearn_{kind}")()
    offers = [one for answer in answers for one in _as_iterable(answer)]
    for one in offers:
        if not isinstance(one, expected):
            raise PluginError(
                f"tlearn_{kind} must return {expected.__name__} objects, it returned {one!r}"
            )
    names = [offer.name for offer in offers]
    if len(set(names)) < len(names):
        raise PluginError(f"it offers one name twice: {', '.join(names)}")
    return tuple(offers)


def _as_iterable(answer: Any) -> Iterable[Any]:
    return answer if isinstance(answer, Iterable) and not isinstance(answer, str) else [answer]


def _refuse_taken(plugin: Plugin, others: Iterable[Plugin]) -> None:
    for kind, (_, word) in KINDS.items():
        owners = {offer.name: other for other in others for offer in getattr(other, kind)}
        for offer in getattr(plugin, kind):
            if offer.name in owners:
                owner = owners[offer.name]
                raise PluginError(f"the {word} name {offer.name!r} is taken by {owner}")


def _call_hook(plugin: Plugin, hook: str, **arguments: Any) -> list[Any]:
    """Return all that a plugin's hook returns or yields, if it has the hook."""
    if hook not in plugin.implemented:
        return []
    with _failures_of(plugin, hook):
        answers = getattr(plugin.hook, hook)(**arguments)
        return [one for answer in answers for one in _as_iterable(answer)]


@contextlib.contextmanager
def _failures_of(plugin: Plugin, where: str) -> Iterator[None]:
    """Name the plugin in whatever its code raises."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise _failure(plugin, where, f"{type(error).__name__}: {one_line(error)}") from error


def _failure(plugin: Plugin, where: str, reason: str) -> PluginError:
    return PluginError(
        f"the plugin {plugin} failed in {where} ({reason}); report this to its author, or leave it "
        f"out with {DISABLED}={plugin.name}"
    )
