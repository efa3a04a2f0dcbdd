"""The first thing on the page: how good the model is and when not to believe it, in words."""

from pathlib import Path

from tlearn.reports.contents import Contents
from tlearn.reports.markup import items, name, paragraph, text
from tlearn.runs.class_figures import ClassFigures, class_figures
from tlearn.runs.measurement import FEW, accuracy_text, confused_pairs, interval
from tlearn.text import percent

NAMED = 12  # classes named in a sentence
WEAK = 3  # classes named as the weakest
WEAK_RECALL = 0.9  # at which a class is named as weak
SCARCE = 5  # held-out photos of a class below which its figures say next to nothing


def overview(contents: Contents) -> str:
    """Return the summary."""
    warnings = [*_of_measurement(contents), *_of_classes(contents), *_of_data(contents)]
    look = f"<div><h3>What to look at</h3>{items(warnings)}</div>" if warnings else ""
    limits = f"<div><h3>What it must not be used for</h3>{items(_limits(contents))}</div>"
    words = paragraph(_what_is_trained(contents))
    return f'{_headline(contents)}{words}<div class="columns">{look}{limits}</div>'


def _headline(contents: Contents) -> str:
    figures, split = contents.figures, contents.split
    accuracy, n = figures["accuracy"], figures["n"]
    right = round(accuracy * n)
    low, high = interval(accuracy, n)
    big = percent(accuracy) if n >= FEW else f"{right} of {n}"
    return (
        f'<div class="headline"><strong>{big}</strong><div>of {n:,} {split} photos are recognised: '
        f"{right:,} right, {n - right:,} wrong. Of all photos taken like these it recognises "
        f"<b>{percent(low)} to {percent(high)}</b> (95% interval).</div></div>"
    )


def _what_is_trained(contents: Contents) -> str:
    record, labels = contents.run.record, contents.labels
    config, data = record["config"], record["data"]
    some = ", ".join(name(label) for label in labels[:NAMED])
    more = f" and {len(labels) - NAMED} more" if len(labels) > NAMED else ""
    images = sum(data["images"].values())
    held = " and ".join(
        f"{count:,} for {split}" for split, count in contents.images.items() if split != "train"
    )
    if contents.ensemble:
        how = f"It averages {len(record['members'])} finished runs ({text(config['backbone'])})."
    else:
        start = config["weights"] if config["weights"] != "none" else "random"
        how = (
            f"It was trained on {contents.images['train']:,} of {images:,} photos, starting from "
            f"{text(config['backbone'])} with {text(start)} weights."
        )
    held_back = f" Held back: {held}." if held else ""
    return (
        f"The model tells {len(labels)} classes apart: {some}{more}. The photos are from "
        f"{name(Path(data['path']).name)}. {how}{held_back}"
    )


def _of_measurement(contents: Contents) -> list[str]:
    figures, metrics = contents.figures, contents.run.metrics
    lines = []
    if figures["n"] < FEW:
        lines.append(f"{text(accuracy_text(figures['accuracy'], figures['n']))}.")
    images = {label: values["n"] for label, values in figures["per_class"].items()}
    largest = max(images, key=images.__getitem__)
    share = images[largest] / figures["n"]
    if interval(figures["accuracy"], figures["n"])[0] <= share:
        lines.append(
            f"It is not surely better than naming {name(largest)} each time, which would be right "
            f"for {percent(share)} of the photos."
        )
    if metrics["stopped"]:
        lines.append("The training was stopped: the model is the best up to then.")
    if contents.split == "validation" and not contents.ensemble and len(metrics["stages"]) > 1:
        lines.append(
            "The same validation photos chose the best epochs, so the figure is slightly "
            "optimistic; <code>--test 0.2</code> holds back photos for an unbiased one."
        )
    if contents.photos.rows and not contents.photos.rows[0].correct:
        first = contents.photos.rows[0]
        lines.append(
            f"The most confident mistake: {name(first.label)} taken for {name(first.predicted)}, "
            f"{percent(first.probability)} sure. Such photos often have a wrong class: see "
            f'<a href="#mistakes">mistakes</a>.'
        )
    return lines


def _of_classes(contents: Contents) -> list[str]:
    classes = class_figures(contents.figures)
    taken_for = {true: other for true, other, _ in reversed(confused_pairs(contents.figures))}
    measured = [c for c in classes if c.images >= SCARCE]
    weak = sorted(measured, key=lambda c: (c.right / c.images, -c.images))[:WEAK]
    lines = [
        f"{name(c.label)}: {c.right} of {c.images} photos recognised, most often taken for "
        f"{name(taken_for[c.label])}."
        for c in weak
        if c.right < c.images * WEAK_RECALL
    ]
    few = [c for c in classes if 0 < c.images < SCARCE]
    none = [c for c in classes if not c.images]
    if few:
        lines.append(
            f"Fewer than {SCARCE} {contents.split} photos, so their figures say next to nothing: "
            f"{_names(few)}."
        )
    if none:
        lines.append(
            f"No {contents.split} photos, so how well they are recognised is not known: "
            f"{_names(none)}."
        )
    return lines


def _names(classes: list[ClassFigures]) -> str:
    more = f" and {len(classes) - NAMED} more" if len(classes) > NAMED else ""
    return ", ".join(name(c.label) for c in classes[:NAMED]) + more


def _of_data(contents: Contents) -> list[str]:
    lines = []
    problems = contents.run.problems()
    if problems:
        number = f"{len(problems)} file{'s' if len(problems) > 1 else ''}"
        lines.append(f'{number} left out or remarked upon: see <a href="#left-out">why</a>.')
    images = {k: n for k, n in contents.run.record["data"]["images"].items() if n}
    largest, least = max(images, key=images.__getitem__), min(images, key=images.__getitem__)
    if images[largest] >= 10 * images[least]:
        lines.append(
            f"Very uneven classes: {images[largest]:,} photos of {name(largest)}, "
            f"{images[least]:,} of {name(least)}."
        )
    return lines


def _limits(contents: Contents) -> list[str]:
    figures = contents.figures
    wrong = figures["n"] - round(figures["accuracy"] * figures["n"])
    lines = [
        f"Photos of anything else: it knows these {len(contents.labels)} classes alone. Much of "
        f"what is unlike its training photos it calls unknown, but some it gives one of them.",
        "Photos taken in another way (another camera, light, background, place or season) before "
        "it was measured on some of them: <code>tlearn evaluate RUN FOLDER</code>.",
        "Decisions about people's health, safety or rights on its word alone.",
    ]
    classes = class_figures(figures)
    missed = [c for c in classes if c.images >= SCARCE and 2 * c.right < c.images]
    if missed:
        lines.append(f"Finding photos of {_names(missed)}: it misses more than half of them.")
    if wrong:
        lines.append(
            f"Work in which one mistake in {max(1, round(figures['n'] / wrong))} is too many, "
            f"without somebody who looks at each photo."
        )
    return lines
