"""The command line: parse, call, print."""

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tlearn import __version__
from tlearn.errors import TlearnError, nearest

if TYPE_CHECKING:
    from tlearn.results.run import Prediction

BAD_INPUT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


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
        return _fail(str(error))
    except click.UsageError as error:
        return _fail(f"{error.format_message().rstrip('.')}; see 'tlearn {_command(error)}--help'")
    except click.ClickException as error:
        return _fail(error.format_message())
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
        return _fail(f"{str(error.filename)!r}: {error.strerror}")
    return code if isinstance(code, int) else 0


def _command(error: click.UsageError) -> str:
    name = error.ctx.info_name if error.ctx and error.ctx.parent else ""
    return f"{name} " if name else ""


def _fail(message: str) -> int:
    print(f"tlearn: error: {' '.join(message.split())}", file=sys.stderr)
    return BAD_INPUT


def _settings(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    for value in values:
        if value.find("=") < 1:
            raise click.UsageError(f"--set takes KEY=VALUE, as in head.dropout=0.1, not {value!r}")
    return dict(value.split("=", 1) for value in values)


def _views(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value == "fresh":
        return value
    if not value.isdecimal() or int(value) < 1:
        raise click.UsageError(f"--views takes a number from 1 up, or 'fresh', not {value!r}")
    return int(value)


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a training to a command."""
    options = [
        click.option("--out", type=click.Path(path_type=Path), metavar="RUN",
                     help="The run directory to make [runs/NAME]."),
        click.option("--backbone", metavar="NAME",
                     help="See 'tlearn backbones' [mobilenet_v2]."),
        click.option("--weights", metavar="NAME|none|FILE",
                     help="Weights the backbone starts from [its first]."),
        click.option("--size", type=int, metavar="PX",
                     help="Side of the square input [the backbone's]."),
        click.option("--resize", type=click.Choice(["crop", "squash", "pad"]),
                     help="How images become square [squash]."),
        click.option("--views", callback=_views, metavar="K|fresh",
                     help="Renderings kept per training image [by preset]."),
        click.option("--seed", type=int, help="Decides splits and everything random [0]."),
        click.option("--val", type=float, metavar="PART",
                     help="Part of the images for validation [0.2]."),
        click.option("--test", type=float, metavar="PART",
                     help="Part held back for the very end [0]."),
        click.option("--group", metavar="REGEX",
                     help="Files whose names match alike stay on one side."),
        click.option("--preset", type=click.Choice(["quick", "balanced", "best"]),
                     help="How long to train [balanced]."),
        click.option("--stages", metavar="WHAT[:EPOCHS][@RATE],...",
                     help="Stages after the probe: blocks, a layer name, all, or none."),
        click.option("--strict", is_flag=True, default=None,
                     help="Make unreadable images an error."),
        click.option("--config", type=click.Path(path_type=Path), metavar="FILE.yaml",
                     help="Configuration; options win over it."),
        click.option("--set", "settings", multiple=True, callback=_settings, metavar="KEY=VALUE",
                     help="Any configuration key, as in head.dropout=0.1."),
        click.option("--quiet", is_flag=True, help="Show no progress."),
        click.option("--json", "as_json", is_flag=True, help="Print metrics.json as the result."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@click.argument("data", type=click.Path(path_type=Path))
@training_options
def finetune(
    data: Path,
    out: Path | None,
    config: Path | None,
    settings: dict[str, str],
    stages: str | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Train on DATA: a folder with one folder of images per class.

    DATA may also hold train/ and validation/ and test/, each with class folders.
    """
    from tlearn.config import make_config, parse_stages

    if stages is not None:
        options["stages"] = parse_stages(stages)
    checked = make_config(config, settings, options)
    _quiet_tensorflow()
    from tlearn.api import finetune as train

    run = train(data, out, config=checked, quiet=quiet)
    return _report_run(run, as_json)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--split", type=click.Choice(["auto", "train", "validation", "test", "all"]),
              default="auto", show_default=True,
              help="Which images to count; auto leaves out those trained on.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def evaluate(run: Path, data: Path, split: Any, quiet: bool, as_json: bool) -> None:
    """Measure the model of RUN on the labelled images in DATA."""
    _quiet_tensorflow()
    from tlearn.progress import console_progress
    from tlearn.results.run import Run
    from tlearn.results.summary import evaluation_summary

    found = Run(run).evaluate(data, split, console_progress(quiet))
    if as_json:
        extra = {
            "left_out": found.left_out,
            "chose": found.chose,
            "unreadable": [list(entry) for entry in found.unreadable],
        }
        print(json.dumps(found.metrics | extra, indent=2, ensure_ascii=False))
    else:
        print(evaluation_summary(found))


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top", type=click.IntRange(min=1), default=3, show_default=True,
              help="Classes per image.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table",
              show_default=True, help="json is one object per line.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE",
              help="Write there instead of to standard output.")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Show no progress.")
def predict(
    run: Path, paths: tuple[Path, ...], top: int, form: str, out: Path | None, quiet: bool
) -> int:
    """Say what is on images: PATHS are files and folders."""
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise click.UsageError(f"--out takes a file in a folder that is there, not {str(out)!r}")
    _quiet_tensorflow()
    from tlearn.progress import console_progress
    from tlearn.results.run import Run

    predictions = Run(run).iter_predictions(paths, top, console_progress(quiet or out is None))
    readable: list[bool] = []
    lines = _lines(predictions, form, top, readable)
    if out is None:
        for line in lines:
            print(line, flush=True)
    else:
        _write(out, "".join(f"{line}\n" for line in lines))
    bad = f"{readable.count(False)} files cannot be read as images"
    if not any(readable):
        return _fail(f"{bad}, and there are no others; give photos")
    if not all(readable):
        print(f"tlearn: {bad}", file=sys.stderr)
    return 0


def _write(out: Path, text: str) -> None:
    """Write a file of results whole or not at all."""
    from tlearn.runs.directory import RunDirectory

    try:
        RunDirectory(out.parent).write(out.name, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise TlearnError(
            f"{str(out)!r} cannot be written: {error.strerror}; choose another --out"
        ) from None


def _lines(
    predictions: Iterator["Prediction"], form: str, top: int, readable: list[bool]
) -> Iterator[str]:
    """Yield lines of a table, of CSV or of JSON as predictions come; note which were readable."""
    columns = [f"{what}_{k}" for k in range(1, top + 1) for what in ("label", "probability")]
    for p in predictions:
        # Not before the first prediction: what fails until then must leave the output empty.
        if form == "csv" and not readable:
            yield _csv_line(["path", *columns, "problem"])
        readable.append(not p.problem)
        if form == "json":
            yield json.dumps(asdict(p) | {"path": str(p.path)}, ensure_ascii=False)
        elif form == "csv":
            cells = [cell for label, value in p.top for cell in (label, f"{value:.6f}")]
            cells += [""] * (len(columns) - len(cells))
            yield _csv_line([str(p.path), *cells, p.problem])
        else:
            ranked = "  ".join(f"{label} {value:6.1%}" for label, value in p.top)
            yield f"{p.path}  {p.problem or ranked}"


def _csv_line(cells: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(cells)
    return out.getvalue()


@cli.command()
def backbones() -> None:
    """List the backbones that are installed."""
    from tlearn.backbones import load_registry

    registry = load_registry()
    for plugin in registry.plugins:
        for b in plugin.backbones:
            weights = "; ".join(f"{w.name} from {w.source} ({w.licence})" for w in b.weights)
            weights = weights or "none"
            print(f"{b.name:<18} {b.default_size} px (from {b.min_size})  weights: {weights}")
            print(f"{'':<18} {b.summary}; from {plugin.distribution} {plugin.version}")
    for plugin in registry.problems:
        print(f"{plugin.name:<18} UNUSABLE, from {plugin.distribution} {plugin.version}: "
              f"{plugin.problem}")  # fmt: skip


@cli.command()
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Where photos and run go [tlearn-demo].")  # fmt: skip
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json as the result.")
def demo(out: Path | None, quiet: bool, as_json: bool) -> int:
    """Draw a small set of pictures, train on it, and show what comes of it."""
    _quiet_tensorflow()
    from tlearn.api import demo as run_demo

    return _report_run(run_demo(out, quiet=quiet), as_json)


def _report_run(run: Any, as_json: bool) -> int:
    """Print what came of a training; return the exit code."""
    from tlearn.results.summary import run_summary

    if as_json:
        print(json.dumps(run.metrics | {"run": str(run.path)}, indent=2, ensure_ascii=False))
    else:
        print(run_summary(run))
    return INTERRUPTED if run.metrics["stopped"] else 0


def _quiet_tensorflow() -> None:
    """Import TensorFlow without its remarks on the screen, unless the user asked for them.

    It writes to the file descriptor while it loads and looks for devices, before any log level
    counts. An exception is raised as ever.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    screen = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import tensorflow as tf

        tf.config.list_physical_devices()
    finally:
        os.dup2(screen, 2)
        os.close(nowhere)
        os.close(screen)


if __name__ == "__main__":
    sys.exit(main())
