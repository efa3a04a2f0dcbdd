"""The command line: parse, call, print."""

import io
import os
import sys
from collections.abc import Sequence

import click

from tlearn import __version__
from tlearn.cli.console import INTERRUPTED, fail
from tlearn.cli.listing import activation_cache, backbones
from tlearn.cli.training import demo, finetune
from tlearn.cli.using import evaluate, predict
from tlearn.errors import TlearnError, nearest


class _Group(click.Group):
    """A group that names the command nearest to a misspelt one."""

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


@click.group(cls=_Group, invoke_without_command=True,
             context_settings={"help_option_names": ["-h", "--help"]})  # fmt: skip
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
    try:
        code = cli.main(arguments, prog_name="tlearn", standalone_mode=False)
    except TlearnError as error:
        return fail(str(error))
    except click.UsageError as error:
        return fail(f"{error.format_message().rstrip('.')}; see 'tlearn {_command(error)}--help'")
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
        if error.filename is None:
            raise
        return fail(f"{str(error.filename)!r}: {error.strerror}")
    return code if isinstance(code, int) else 0


def run() -> None:
    """Run the command line as a process of its own.

    It leaves without taking Python and TensorFlow apart, which takes a second and changes nothing.
    """
    code = main()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        pass
    os._exit(code)


def _command(error: click.UsageError) -> str:
    name = error.ctx.info_name if error.ctx and error.ctx.parent else ""
    return f"{name} " if name else ""


for command in (finetune, predict, evaluate, backbones, activation_cache, demo):
    cli.add_command(command)
