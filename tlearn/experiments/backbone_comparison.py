"""``compare`` and ``plan``: how well backbones do on the photos, and what fine-tuning costs."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlearn.atomic import atomic_directory
from tlearn.backbones import load_registry
from tlearn.backbones.availability import advice, missing_weights
from tlearn.config import RunConfig
from tlearn.data.read_data import check_data, data_name
from tlearn.data.splits import load_dataset
from tlearn.errors import BackboneError, TlearnError
from tlearn.features.activation_cache import open_cache
from tlearn.features.cluster_engine import check_cluster
from tlearn.object_stores import as_path
from tlearn.progress import Progress, Silent, console_progress
from tlearn.runs.directory import check_free, free_name
from tlearn.settings import make_config

if TYPE_CHECKING:
    from tlearn.experiments.ranking import Comparison

COMPARISONS = Path("comparisons")


def compare(
    data: str | Path,
    out: str | Path | None = None,
    *,
    backbones: Sequence[str] = (),
    config: str | Path | RunConfig | None = None,
    quiet: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> "Comparison":
    """Rank backbones by the accuracy of a probe on their features, cross-validated.

    Only training images are used: the others remain unseen for a training afterwards. Activations
    are cached, so that training starts warm. Ctrl-C ends it with the results so far.

    Args:
        data: As of :func:`tlearn.finetune`.
        out: The folder to make; ``comparisons/<name of the data>`` if not given.
        backbones: Names; all that are installed if not given.
        config: A configuration or a YAML file of one; its backbone is ignored.
        quiet: Show nothing while it works.
        progress: Where to show progress instead of standard error.
        **options: Fields of :class:`tlearn.RunConfig`: ``time_budget`` bounds it; ``preset`` and
            ``stages`` say which fine-tuning is estimated.

    Returns:
        The ranking; ``comparison.json``, ``comparison.svg`` and ``comparison.png`` are in ``path``.

    Raises:
        TlearnError: If an argument cannot be used, or no backbone could be evaluated; nothing is
            written then.

    Example:
        >>> tlearn.compare("photos").recommended  # doctest: +SKIP
        'mobilenet_v2'
    """
    start = time.monotonic()
    settings = make_config(config, options=options)
    data, progress = as_path(data), progress or console_progress(quiet)
    path = Path(out) if out else free_name(data_name(data), COMPARISONS)
    check_free(path)
    names = _backbone_names(settings, backbones)
    check_data(data)
    missing = _missing_weights(names, settings.weights)
    if len(missing) == len(names):
        reasons = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
        raise BackboneError(f"no backbone could be compared: {reasons}; {advice()}")
    check_cluster(settings.cluster, names, settings.engine, settings.precision)
    manifest, splits = load_dataset(data, settings, progress)
    # Not before all is checked: Keras takes seconds.
    from tlearn.experiments.candidates import ComparisonSetup, evaluate_candidates
    from tlearn.experiments.ranking import Comparison
    from tlearn.runs import charts

    with atomic_directory(path) as folder:
        deadline = start + settings.time_budget if settings.time_budget else np.inf
        with open_cache(settings, progress.say) as cache:
            setup = ComparisonSetup(settings, manifest, splits, cache, progress, deadline)
            present = [name for name in names if name not in missing]
            results, skipped, stopped = evaluate_candidates(setup, present)
        comparison = Comparison(data, results, missing | skipped, stopped, path)
        files = {"json": comparison.to_json().encode()}
        files |= charts.render(charts.accuracy_against_cost(comparison.rows()))
        for kind, content in files.items():
            (folder / f"comparison.{kind}").write_bytes(content)
    return comparison


@dataclass(frozen=True)
class Estimate:
    """What fine-tuning one backbone would cost on this machine, from a cold start.

    Attributes:
        images_per_second: Through decoding and the whole backbone, measured just now.
        sure: Whether the estimate is reliable: the speed was measured twice alike, and others
            hardly used the processors meanwhile.
        seconds: From the start of the training to its end.
        bytes: What would be written to the activation cache.
        problem: Why there is no estimate, else empty.
    """

    backbone: str
    images_per_second: float = 0.0
    sure: bool = False
    parameters: int = 0
    seconds: float = 0.0
    bytes: int = 0
    problem: str = ""


def estimates(
    data: str | Path,
    *,
    backbones: Sequence[str] = (),
    config: str | Path | RunConfig | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Iterator[Estimate]:
    """Yield what fine-tuning each backbone would cost, from rates measured on this machine.

    No weights are needed for it, so none are downloaded. Arguments are as of :func:`compare`.

    Raises:
        TlearnError: If an argument cannot be used.
    """
    settings = make_config(config, options={**options, "weights": "none"})
    names = _backbone_names(settings, backbones)
    data, progress = as_path(data), progress or Silent()
    check_data(data)
    manifest, splits = load_dataset(data, settings, progress)
    # Not before all is checked: Keras takes seconds.
    from tlearn.experiments.candidates import ComparisonSetup, costs_of, speed_of

    with open_cache(settings, progress.say) as cache:
        comparison = ComparisonSetup(settings, manifest, splits, cache, progress)
        for backbone in names:
            try:
                setup = comparison.of(backbone)
                speed = speed_of(setup)
                costs = costs_of(setup, speed.rate)
            except TlearnError as error:
                yield Estimate(backbone, problem=str(error))
                continue
            parameters = int(setup.built.base.count_params())
            yield Estimate(backbone, speed.rate, speed.sure, parameters, costs.seconds, costs.bytes)


def _backbone_names(config: RunConfig, backbones: Sequence[str]) -> list[str]:
    """Return the names of backbones, once each; all that are installed where none are given.

    Raises:
        TlearnError: If there is no such backbone, or no such preset.
    """
    registry = load_registry()
    registry.preset(config.preset)
    if isinstance(backbones, str):
        backbones = [backbones]
    return [registry.get(name).name for name in dict.fromkeys(backbones or registry.backbones)]


def _missing_weights(names: Sequence[str], weights: str | None) -> dict[str, str]:
    """Return why weights cannot be had, by the names of the backbones that lack them."""
    missing = {}
    for name in names:
        try:
            reason = missing_weights(load_registry().get(name), weights)
        except BackboneError as error:
            missing[name] = str(error)
            continue
        if reason:
            missing[name] = f"its weights are not on this machine: {reason}"
    return missing
