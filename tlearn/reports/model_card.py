"""The model card: what the model is for, what it was made from, and where it ends."""

from collections.abc import Iterator
from typing import Any

from tlearn.backbones import load_registry
from tlearn.errors import BackboneError
from tlearn.reports.contents import Contents
from tlearn.reports.markup import name, table, text
from tlearn.runs.classifier import BETWEEN

OF_OWN = "a file: its licence is that of whoever made it"
RANDOM = "none: it began with random weights"


def model_card(contents: Contents) -> str:
    """Return the card (Mitchell et al., Model cards for model reporting, 2019)."""
    run = contents.run
    record, metrics = run.record, run.metrics
    classes = len(contents.labels)
    rows = [
        ["Model", f"{name(run.path.resolve().name)}, tlearn {text(record['versions']['tlearn'])}"],
        [
            "Intended use",
            f"to sort photos like those of the data into {classes} classes, with a person who can "
            f"look at doubtful ones",
        ],
        ["Not intended", "what the summary of this page lists under what it must not be used for"],
        ["Input, output", f"one RGB photo, made {_input(record)}; {classes} probabilities"],
        *_data(contents),
        *(["Weights", line] for line in _weights(record)),
        [
            "Measured",
            "; ".join(
                f"{split}: {text(run.metric_texts(split)['accuracy'])}, {metrics[split]['n']} "
                f"photos"
                for split in ("test", "validation")
                if split in metrics
            ),
        ],
        [
            "Limits",
            "measured on photos held out of the same data, so what all of them share (one camera, "
            "one place, one habit of labelling) is not put to the test; classes with few photos "
            "are measured badly; wrong labels in the data count as mistakes, and are learned",
        ],
    ]
    return table([], [[f"<b>{what}</b>", words] for what, words in rows], "plain card")


def _input(record: dict[str, Any]) -> str:
    size, resize = record["config"].get("size"), record["config"].get("resize")
    how = {"squash": "by squeezing", "crop": "by cropping"}.get(str(resize), text(resize))
    return f"{text(size)} pixels square {how}"


def _data(contents: Contents) -> Iterator[list[str]]:
    data = contents.run.record["data"]
    splits = ", ".join(f"{count:,} {split}" for split, count in contents.images.items())
    yield ["Data", f"{name(data['path'])}: {splits}; digest <code>{text(data['digest'])}</code>"]
    yield [
        "Photos of each class",
        ", ".join(f"{name(label)} ({number:,})" for label, number in data["images"].items()),
    ]
    left_out = len(contents.run.problems())
    if left_out:
        yield ["Left out, or remarked upon", f'{left_out:,} files: see <a href="#left-out">why</a>']
    yield ["Rights in the photos", "not known to tlearn: state them before you pass the model on"]


def _weights(record: dict[str, Any]) -> Iterator[str]:
    """Yield a line on the weights that each backbone started from."""
    chosen = record["config"].get("weights")
    for backbone in record["config"]["backbone"].split(BETWEEN):
        yield f"<b>{text(backbone)}</b>: {_licence(backbone, chosen)}"


def _licence(backbone: str, chosen: str | None) -> str:
    if chosen == "none":
        return RANDOM
    try:
        offered = load_registry().get(backbone).weights
    except BackboneError:
        return "its plugin is not installed here, so their licence is not known"
    some = [weights for weights in offered if chosen in (None, weights.name)]
    if not some:
        return OF_OWN
    return "; ".join(
        f"{text(w.name)}, licence {text(w.licence)}, from {text(w.source)}, trained on "
        f"{text(w.trained_on)}"
        for w in some
    )
