"""The options that commands share; those of the configuration are made from its schema."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from tlearn.backbones.plugin_sources import folder_options
from tlearn.object_stores import as_path
from tlearn.store_access import is_url

if TYPE_CHECKING:
    from tlearn.config_schema import ConfigField
    from tlearn.runs.run import Run

Command = Callable[..., Any]
METAVARS = {
    "backbone": "NAME",
    "weights": "NAME|none|FILE|RUN",
    "from_run": "RUN",
    "size": "PX",
    "views": "K|fresh",
    "val": "PART",
    "test": "PART",
    "group": "REGEX",
    "preset": "NAME",
    "callbacks": "FILE.py",
    "train_step": "FILE.py:NAME",
    "tensorboard": "[DIR]",
    "tta": "K",
    "stages": "WHAT[:EPOCHS][@RATE],...",
    "time_budget": "5m",
    "disk_budget": "10G",
    "activation_store": "URL",
    "cluster": "ray[://ADDRESS]",
    "workers": "N",
}
SHORTER = {"from_run": "--from"}  # a word that Python keeps to itself
IF_NO_VALUE = {"tensorboard": "logs"}  # of options that may be given without one
ENGINE = ("engine", "precision")


def _settings(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    for value in values:
        if value.find("=") < 1:
            raise click.UsageError(f"--set takes KEY=VALUE, as in head.dropout=0.1, not {value!r}")
    return dict(value.split("=", 1) for value in values)


def _names(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (value or "").split(",") if name.strip())


class _Path(click.Path):
    """A path, which an empty text is not: it would be the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value):
            self.fail("a path was expected, not an empty text", param, ctx)
        return as_path(value) if is_url(value) else super().convert(value, param, ctx)


PATH = _Path(path_type=Path)


def path_option(name: str, metavar: str, words: str, **more: Any) -> Callable[[Command], Command]:
    """Add an option that takes a path."""
    return click.option(name, type=PATH, metavar=metavar, help=words, **more)


def check_out(out: Path | None, option: str = "--out") -> None:
    """Refuse a file to write, given as an option, whose folder is missing."""
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise click.UsageError(f"{option} takes a file in an existing folder, not {str(out)!r}")


DATA = click.argument("data", type=PATH)
RUN = click.argument("run", type=PATH)
CONFIG = path_option("--config", "FILE.yaml", "Configuration; options win over it.")
SET = click.option(
    "--set",
    "settings",
    multiple=True,
    callback=_settings,
    metavar="KEY=VALUE",
    help="Any configuration key, as in head.dropout=0.1.",
)
PROGRESS = click.option(
    "--progress",
    type=click.Choice(["auto", "json"]),
    default="auto",
    show_default=True,
    help="json: lines for programs, on standard error.",
)
QUIET = click.option("--quiet", is_flag=True, help="Show no progress.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def config_options(*keys: str, without: Collection[str] = ()) -> Callable[[Command], Command]:
    """Add the options of configuration keys to a command, of all at its top if none are given.

    A value that was not given is ``None``; what is given is checked by the configuration.
    """
    from tlearn.config_schema import fields_of

    fields = {field.key: field for field in fields_of()}
    chosen = keys or tuple(key for key in fields if "." not in key and key not in without)

    def add(command: Command) -> Command:
        for key in reversed(chosen):
            command = _option(fields[key])(command)
        return command

    return add


def given_options(without: Collection[str] = ()) -> list[str]:
    """Return the options of the running command that the user gave, as words of a shell.

    Args:
        without: The names of parameters that are left out.
    """
    ctx, words = click.get_current_context(), folder_options()
    for option in ctx.command.params:
        name, value = str(option.name), ctx.params.get(str(option.name))
        given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not given or value is None or name in without or isinstance(option, click.Argument):
            continue
        flag = max(option.opts, key=len)
        if value is True:
            words.append(flag)
        elif isinstance(value, dict):  # of --set
            words += [word for item in value.items() for word in (flag, "=".join(item))]
        else:
            words += [flag, str(value)]
    return words


def comparison_options(command: Command) -> Command:
    """Add what both comparisons of backbones take: which, on what, and how each would train."""
    backbones = click.option(
        "--backbones",
        metavar="NAME,...",
        callback=_names,
        help="Backbones to compare; all that are installed if not given.",
    )
    apart = ("backbone", "size", "callbacks", "from_run", "train_step", "tensorboard")
    every = config_options(without=apart)
    options = (DATA, backbones, every, CONFIG, SET)
    for add in reversed((*options, QUIET, JSON)):
        command = add(command)
    return command


def open_run(
    path: Path,
    engine: str | None,
    precision: str | None,
    tta: str | None,
    cluster: str | None = None,
) -> "Run":
    """Open a run to predict with, by options as of :data:`ENGINE`, ``tta`` and ``cluster``."""
    from tlearn.runs.run import Run

    return Run(path, engine or "auto", precision or "auto", tta, cluster or "")


def _option(field: "ConfigField") -> Callable[[Command], Command]:
    more: Mapping[str, Any] = {"metavar": METAVARS.get(field.key, field.kind.upper())}
    if field.kind == "bool":
        more = {"is_flag": True, "default": None}
    elif field.choices:
        more = {"type": click.Choice(field.choices)}
    elif field.key in IF_NO_VALUE:
        more = {**more, "is_flag": False, "flag_value": IF_NO_VALUE[field.key]}
    names = [f"--{field.key.replace('_', '-')}"]
    if field.key in SHORTER:
        names.insert(0, SHORTER[field.key])
    return click.option(*names, field.key, help=help_text(field), **more)


def help_text(field: "ConfigField") -> str:
    """Return what a field is, with its default and bounds."""
    facts = [field.bounds] if field.bounds else []
    if field.default not in (None, "") and field.kind != "bool":
        facts.insert(0, f"default: {field.default}")
    words = field.help.replace("`", "").rstrip(".")
    return f"{words}. [{'; '.join(facts)}]" if facts else f"{words}."
