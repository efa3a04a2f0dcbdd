"""The command line: parse, call, print."""

import functools
import importlib
import io
import itertools
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import click

from tlearn import __version__
from tlearn.backbones import Plugin, load_registry, use_folder
from tlearn.backbones.plugin_sources import restoring_folders
from tlearn.cli.console import INTERRUPTED, fail, fail_unexpected
from tlearn.cluster.ray_connection import disconnecting
from tlearn.errors import PluginError, TlearnError, hint_of, nearest

# Every command has a module of its name in this package; it is imported when the command is used.
COMMANDS = {
    "finetune": "Train on DATA: a folder with one folder of images per class.",
    "predict": "Classify images: PATHS are files, folders, archives, tables.",
    "label-next": "Choose the photos of FOLDER that are most worth labelling for RUN.",
    "evaluate": "Measure the model of RUN on the labelled images in DATA.",
    "show": "Show RUN: configuration, blocks by stage, figures, curves.",
    "explain": "Show what in IMAGES speaks for their class, and similar photos.",
    "report": "Write one HTML page about RUN, to look at or to pass on.",
    "export": "Write the model of RUN in another format, such as onnx.",
    "compare": "Rank the installed backbones by a probe on photos of DATA.",
    "plan": "Estimate seconds and disk of fine-tuning each backbone on DATA.",
    "learning-curve": "Measure accuracy by number of photos, and what more would bring.",
    "study": "Train on DATA once for each combination of values, and compare.",
    "tune": "Search a better configuration for DATA, and measure what it gains.",
    "diff": "Compare RUN and OTHER on the photos they hold out.",
    "ensemble": "Average several RUNS, of any backbones, as one run with one model.",
    "lr-find": "Search the learning rate of the head and of each stage on DATA.",
    "tensorboard": "Open TensorBoard on RUNS that were trained with --tensorboard.",
    "check": "Look for what is wrong with DATA, and put it right.",
    "data": "Show, undo or write out the edits of DATA; pack it into shards.",
    "features": "Write the features of a layer for every image in DATA.",
    "layers": "List the layers and the boundaries of BACKBONE.",
    "backbones": "List the backbones that are installed.",
    "weights": "Show where the weights of backbones are, or fetch them.",
    "plugins": "List the plugins, what they offer, and what is wrong with them.",
    "cache": "Show the cache of activations, archives and scans, or clear it.",
    "demo": "Draw a small set of pictures, train on it, show the result.",
    "serve": "Answer requests over HTTP with the models of RUNS.",
    "ui": "Open the web page: upload, train, look at results, predict.",
}
_PLUGIN_COMMANDS = "tlearn.plugin_commands"  # key in the metadata of click's context


@functools.cache
def load_command(name: str) -> click.Command:
    """Import the command ``name`` of tlearn itself, with the options that every command has."""
    module = name.replace("-", "_")
    command: click.Command = getattr(importlib.import_module(f"tlearn.cli.{module}"), module)
    command.no_args_is_help = False  # else an error that holds all of the help
    for part in (command, *getattr(command, "commands", {}).values()):
        part.params += COMMON_OPTIONS
    return command


class _Group(click.Group):
    """Imports a command when it is used; other commands come from plugins."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            return load_command(cmd_name)
        return self._from_plugins(ctx).get(cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted(self._from_plugins(ctx))]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        more = sorted(self._from_plugins(ctx).items())
        rows = [(name, command.get_short_help_str(100)) for name, command in more]
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items(), *rows])

    def _from_plugins(self, ctx: click.Context) -> dict[str, click.Command]:
        """Return the commands that plugins add, loaded once per run of the command line."""
        if _PLUGIN_COMMANDS not in ctx.meta:
            ctx.meta[_PLUGIN_COMMANDS] = _commands_of_plugins()
        return dict(ctx.meta[_PLUGIN_COMMANDS])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            known = sorted(self.list_commands(ctx))
            raise click.UsageError(
                f"no command is called {name!r}{nearest(name, known)}; there are {', '.join(known)}"
            )
        return super().resolve_command(ctx, args)


def _commands_of_plugins() -> dict[str, click.Command]:
    """Return the commands that plugins add; one that fails does not affect the others."""
    commands: dict[str, click.Command] = {}
    owners: dict[str, Plugin] = {}
    registry = load_registry()
    for plugin in registry.plugins:
        group = click.Group()
        try:
            registry.add_commands(plugin, group)
        except PluginError as error:
            print(f"tlearn: {error}", file=sys.stderr)
            continue
        for name, command in group.commands.items():
            if name in COMMANDS or name in commands:
                owner = owners.get(name, "tlearn")
                print(
                    f"tlearn: the command {name!r} of the plugin {plugin} is left out, because "
                    f"its name is taken by {owner}",
                    file=sys.stderr,
                )
            else:
                commands[name], owners[name] = command, plugin
    return commands


def _use_plugins(ctx: click.Context, parameter: click.Parameter, value: tuple[Path, ...]) -> None:
    for folder in value:
        use_folder(folder)


COMMON_OPTIONS = [  # of every command
    click.Option(
        ["--plugins-dir"],
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="DIR",
        expose_value=False,
        callback=_use_plugins,
        is_eager=True,
        help="Load the .py files of DIR as plugins too: runs them.",
    ),
    click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        help="Show the traceback of an unexpected error.",
    ),
]


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
    """Run the command line and return its exit code.

    0; 1 for a failed check or a defect, 2 for bad input, 130 if interrupted.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of any script on any terminal
        sys.stdout.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about odd metadata of photos
    words = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--progress=json" in words or ("--progress", "json") in itertools.pairwise(words)
    fails = functools.partial(fail, as_json=as_json)
    try:
        with restoring_folders(), disconnecting():
            code = cli.main(words, prog_name="tlearn", standalone_mode=False)
    except TlearnError as error:
        from tlearn.runs.stored_runs import with_urls

        return fails(with_urls(str(error)), hint_of(error))
    except click.UsageError as error:
        named = [word for word in words[:1] if word in COMMANDS]  # click may not say
        command = error.ctx.command_path if error.ctx else " ".join(["tlearn", *named])
        return fails(f"{error.format_message().rstrip('.')}; see '{command} --help'")
    except click.ClickException as error:
        return fails(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        print("tlearn: stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has ended, as 'head' does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        # The system's own errors have a number, a defect has none.
        if not isinstance(error, OSError) or error.errno is None:
            if "--debug" in words:
                raise
            return fail_unexpected(error, as_json)
        where = f"{str(error.filename)!r}: " if error.filename is not None else ""
        return fails(f"{where}{error.strerror}", hint_of(error))
    return code if isinstance(code, int) else 0


def run() -> None:
    """Run the command line as a process of its own.

    It exits without finalising Python and TensorFlow, which takes a second and changes nothing.
    SIGTERM, which service managers send, is treated as Ctrl-C.
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


cli.params += COMMON_OPTIONS
