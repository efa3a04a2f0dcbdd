"""The learning-rate finder: the loss of a stage while its rate rises from batch to batch.

Smith, Cyclical learning rates for training neural networks (WACV 2017).
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tlearn.atomic import atomic_directory
from tlearn.config import RunConfig
from tlearn.data.read_data import check_data, data_name
from tlearn.data.splits import list_dataset
from tlearn.errors import ConfigError
from tlearn.features.activation_cache import open_cache
from tlearn.features.precision import computing_in
from tlearn.keras_objects import StageSchedule
from tlearn.object_stores import as_path
from tlearn.progress import Progress, console_progress
from tlearn.runs import charts
from tlearn.runs.directory import check_free, free_name
from tlearn.settings import make_config
from tlearn.training.compile import compile_for
from tlearn.training.execution_plan import prepare_activations
from tlearn.training.network import Network, assign, copies
from tlearn.training.network_training import start_from_probe
from tlearn.training.run_training import filled_in
from tlearn.training.setup import Setup, read_setup
from tlearn.training.stage_fit import train_on_batch
from tlearn.training.stages import HEAD_STAGE, StagePlan, plan_stages

RATES = Path("rates")  # where searches go that are given no place
LOWEST, HIGHEST = 1e-6, 1.0
STEPS = 100
SMOOTHING = 0.9  # the part of the mean of the losses before, at each step
DIVERGED = 4.0  # times the least mean loss: the search ends
FIRST = 10  # steps whose mean is of too few losses
PART = 0.5  # of the rate at which the mean loss is least
RULE = "half of the rate at which the mean of the last losses is least"


@dataclass(frozen=True)
class RateSearch:
    """How the loss of a part of the network goes with the learning rate.

    Attributes:
        part: What was trained, as a stage calls it.
        rates: Rising.
        losses: Of the batches that were trained at these rates.
        means: Of the last losses, the last counting most.
        suggestion: A rate to begin with: :data:`RULE`.
    """

    part: str
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    means: tuple[float, ...]
    suggestion: float

    @property
    def is_bound(self) -> bool:
        """Whether the mean loss still fell at the last rate that was tried."""
        return self.suggestion == PART * self.rates[-1]


def find_rates(
    data: str | Path,
    out: str | Path | None = None,
    *,
    config: str | Path | RunConfig | None = None,
    quiet: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> tuple[list[RateSearch], Path]:
    """Search learning rates for the head and for what the stages train, on cached activations.

    Each search begins with the probe as the head and the backbone as it was loaded. The probe is
    fitted on half of the training images, and the rates are searched on the others: of those that
    it has seen it is so sure that no rate could lower the loss.

    Args:
        data: As of :func:`tlearn.finetune`.
        out: The folder to make; ``rates/<name of the data>`` if not given.
        config: A configuration or a YAML file of one.
        quiet: Show nothing while it works.
        progress: Where to show progress instead of standard error.
        **options: Fields of :class:`tlearn.RunConfig`.

    Returns:
        The searches, and the folder with ``rates.json``, ``rates.svg`` and ``rates.png``.

    Raises:
        TlearnError: If an argument cannot be used; nothing is written then.
    """
    settings = make_config(config, options=options)
    data, progress = as_path(data), progress or console_progress(quiet)
    path = Path(out) if out else free_name(data_name(data), RATES)
    check_free(path)
    check_data(data)
    settings = filled_in(settings)
    source = list_dataset(data, settings.group, progress)
    with open_cache(settings, progress.say) as cache:
        searches = list(_searches(read_setup(settings, source, cache, progress)))
    with atomic_directory(path) as folder:
        record = {"rule": RULE, "searches": [asdict(search) for search in searches]}
        files = {"json": json.dumps(record, indent=2).encode()}
        files |= charts.render(charts.loss_against_rate(list(map(asdict, searches))))
        for kind, content in files.items():
            (folder / f"rates.{kind}").write_bytes(content)
    return searches, path


def _searches(setup: Setup) -> Iterator[RateSearch]:
    """Yield the searches for the head and for each stage that trains other layers."""
    setup, costs, _ = prepare_activations(setup)
    seen, setup = _halves(setup)
    _, network, _ = start_from_probe(seen, costs, {})
    head = plan_stages((HEAD_STAGE.model_copy(update={"name": "head"}),), setup.built)
    by_layers = {plan.trainable: plan for plan in (*reversed(setup.stages), *head)}
    plans = sorted(by_layers.values(), key=lambda plan: len(plan.trainable))
    variables = network.changing(plan.trainable for plan in plans)
    initial = copies(variables)
    for plan in plans:
        yield _search(setup, network, plan)
        assign(variables, initial)


def _halves(setup: Setup) -> tuple[Setup, Setup]:
    """Return the setup with each half of the training images, drawn with its seed, as all."""
    splits, rng = setup.splits, np.random.default_rng(setup.config.seed)
    order = rng.permutation(len(splits.train))
    first, second = (
        replace(setup, splits=replace(splits, train=splits.train[np.sort(half)]))
        for half in np.array_split(order, 2)
    )
    return first, second


def _search(setup: Setup, network: Network, plan: StagePlan) -> RateSearch:
    """Train a part of the network at a rate that rises from batch to batch."""
    stage = plan.stage.model_copy(update={"schedule": StageSchedule(name="constant")})
    network.freeze(plan.trainable, plan.batch_norm)
    model = network.suffix(plan.boundary)
    rates, losses = np.geomspace(LOWEST, HIGHEST, STEPS), list[float]()
    title = f"searching the rate of {stage.title}"
    with (
        computing_in(setup.activations.choice.precision, model),
        setup.progress.task(title, STEPS, "steps") as task,
    ):
        compile_for(model, stage, 1, network.rate_factors(stage.block_rate))
        for rate, (inputs, rows) in zip(rates, _batches(setup, network, plan), strict=False):
            model.optimizer.learning_rate = rate
            logs = train_on_batch(model, inputs, *setup.targets.of(rows))
            losses.append(float(logs["loss"]))
            task.advance()
            if diverged(losses):
                break
    return result_of(stage.title, rates[: len(losses)].tolist(), losses)


def _batches(setup: Setup, network: Network, plan: StagePlan) -> Iterator[Any]:
    """Yield the batches of a stage, epoch after epoch, without end."""
    feed = setup.feed(network, plan.boundary)
    epoch = 0
    while True:
        yield from feed.epoch(epoch, plan.stage.batch_size)
        epoch += 1


def result_of(part: str, rates: Sequence[float], losses: Sequence[float]) -> RateSearch:
    """Return a search with its suggestion.

    Raises:
        ConfigError: If no loss is finite.
    """
    means = smooth(losses)
    settled = list(zip(means, rates, strict=True))[FIRST:]
    finite = [(mean, rate) for mean, rate in settled if math.isfinite(mean)]
    if not finite:
        raise ConfigError(f"the loss of {part} is not finite at any rate; check the weights")
    _, best = min(finite)
    return RateSearch(part, tuple(rates), tuple(losses), tuple(means), PART * best)


def diverged(losses: Sequence[float]) -> bool:
    """Return whether the last mean loss is not finite, or far above the least."""
    *before, last = smooth(losses)
    return not math.isfinite(last) or last > DIVERGED * min([*before[FIRST:], last])


def smooth(losses: Sequence[float]) -> list[float]:
    """Return exponential means, without the bias towards 0 of the first ones."""
    means, total = [], 0.0
    for step, loss in enumerate(losses, start=1):
        total = SMOOTHING * total + (1 - SMOOTHING) * loss
        means.append(total / (1 - SMOOTHING**step))
    return means
