"""The command line: parse, call, print."""

import io
import os
import signal
import sys
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tlearn import __version__
from tlearn.backbones.plugin_sources import forget_folders, use_folder
from tlearn.cli.cache import activation_cache, backbones
from tlearn.cli.compare import compare, plan
from tlearn.cli.console import INTERRUPTED, fail
from tlearn.cli.export import export, report
from tlearn.cli.finetune import demo, finetune
from tlearn.cli.layers import features, layers
from tlearn.cli.plugins import plugins
from tlearn.cli.predict import evaluate, predict
from tlearn.cli.ui import ui
from tlearn.errors import PluginError, TlearnError, nearest

if TYPE_CHECKING:
    from tlearn.backbones import Plugin

_THEIRS = "tlearn.commands_of_plugins"  # where click keeps them while a command runs


class _Group(click.Group):
    """Names the command nearest to a misspelt one; asks plugins for those it has not."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or self._from_plugins(ctx).get(cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *sorted(self._from_plugins(ctx))]

    def _from_plugins(self, ctx: click.Context) -> dict[str, click.Command]:
        """Return the commands that plugins add, asked once per run of the command line."""
        if _THEIRS not in ctx.meta:
            ctx.meta[_THEIRS] = _commands_of_plugins(self.commands)
        return dict(ctx.meta[_THEIRS])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            known = self.list_commands(ctx)
            raise click.UsageError(
                f"no command is called {name!r}{nearest(name, known)}; there are {', '.join(known)}"
            )
        return super().resolve_command(ctx, args)


def _commands_of_plugins(ours: Container[str]) -> dict[str, click.Command]:
    """Return the commands that plugins add; one that fails costs the others nothing."""
    from tlearn.backbones import load_registry

    found: dict[str, click.Command] = {}
    owners: dict[str, Plugin] = {}
    registry = load_registry()
    for plugin in registry.plugins:
        theirs = click.Group()
        try:
            registry.add_commands(plugin, theirs)
        except PluginError as error:
            print(f"tlearn: {error}", file=sys.stderr)
            continue
        for name, command in theirs.commands.items():
            if name in ours or name in found:
                owner = owners.get(name, "tlearn")
                print(
                    f"tlearn: the command {name!r} of the plugin {plugin} is left out, because "
                    f"its name is taken by {owner}",
                    file=sys.stderr,
                )
            else:
                found[name], owners[name] = command, plugin
    return found


def _plugins_dir() -> click.Option:
    """Return the option that every command has."""

    def use(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> None:
        if value is not None:
            use_folder(value)

    return click.Option(
        ["--plugins-dir"],
        type=click.Path(path_type=Path),
        metavar="DIR",
        expose_value=False,
        callback=use,
        is_eager=True,
        help="Take the .py files of DIR as plugins too: runs them.",
    )


@click.group(
    cls=_Group,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="tlearn")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Train an image classifier on a folder of photos per class.

    \b
    tlearn demo                     see it work
    tlearn finetune photos          train on photos/<class>/*.jpg
    tlearn predict runs/photos new  use the result
    """  # noqa: D301 (click wants the character itself)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 for bad input, 130 if interrupted."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of any script, whatever the terminal takes
        sys.stdout.reconfigure(errors="backslashreplace")
    forget_folders()
    try:
        code = cli.main(arguments, prog_name="tlearn", standalone_mode=False)
    except TlearnError as error:
        return fail(str(error))
    except click.UsageError as error:
        of = error.ctx.command_path if error.ctx else "tlearn"
        return fail(f"{error.format_message().rstrip('.')}; see '{of} --help'")
    except click.ClickException as error:
        return fail(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        print("tlearn: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as 'head' does: there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno is None:  # the system's own errors have a number, a defect of ours has none
            raise
        where = f"{str(error.filename)!r}: " if error.filename is not None else ""
        return fail(f"{where}{error.strerror}")
    return code if isinstance(code, int) else 0


def run() -> None:
    """Run the command line as a process of its own.

    It leaves without taking Python and TensorFlow apart, which takes a second and changes nothing.
    What asks a process to end, such as a service manager, is taken as Ctrl-C.
    """
    for name in ("SIGTERM", "SIGBREAK"):  # the second is of Windows
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    code = main()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        pass
    os._exit(code)


def _commands(group: click.Group) -> Iterator[click.Command]:
    yield group
    for command in group.commands.values():
        yield from _commands(command) if isinstance(command, click.Group) else [command]


COMMANDS = (
    finetune,
    predict,
    evaluate,
    report,
    export,
    compare,
    plan,
    features,
    layers,
    backbones,
    plugins,
    activation_cache,
    demo,
    ui,
)
for command in COMMANDS:
    cli.add_command(command)
for command in _commands(cli):
    command.params.append(_plugins_dir())
