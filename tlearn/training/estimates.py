"""What fine-tuning would cost, before anything is trained."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlearn.backbones import load_registry
from tlearn.config import RunConfig
from tlearn.data.dataset import read
from tlearn.data.scan import check_folder
from tlearn.errors import TlearnError
from tlearn.features.activation_cache import Cache, default_root
from tlearn.progress import Progress, Silent
from tlearn.settings import make_config


@dataclass(frozen=True)
class Estimate:
    """What fine-tuning one backbone would cost on this machine, from a cold start.

    Attributes:
        backbone: Its name.
        images_per_second: Through decoding and the whole backbone, measured just now.
        sure: Whether that speed can be relied upon: it was measured twice on an idle machine.
        parameters: Of the backbone.
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

    Weights are not needed for it, so none are fetched.

    Args:
        data: Class folders, as for :func:`tlearn.finetune`.
        backbones: Names; all that are installed if not given.
        config: A configuration or a YAML file of one.
        progress: Where to show progress.
        **options: Fields of :class:`tlearn.RunConfig`.

    Raises:
        TlearnError: If something given cannot be used.
    """
    settings = make_config(config, options={**options, "weights": "none"})
    registry = load_registry()
    chosen = [registry.get(name) for name in backbones] or list(registry.backbones.values())
    preset = registry.preset(settings.preset)
    check_folder(Path(data))
    progress = progress or Silent()
    # Not before all is checked: Keras takes seconds.
    from tlearn.training.candidates import Candidate, ComparisonSetup

    _, splits = read(Path(data), settings, progress)
    with Cache(default_root(), settings.disk_budget, progress.say) as cache:
        setup = ComparisonSetup(settings, preset, splits, cache, progress)
        for backbone in chosen:
            try:
                candidate = Candidate(setup, backbone)
                speed = candidate.speed()
                costs = candidate.costs(speed.rate)
            except TlearnError as error:
                yield Estimate(backbone.name, problem=str(error))
            else:
                yield Estimate(
                    backbone.name,
                    speed.rate,
                    speed.sure,
                    int(candidate.built.base.count_params()),
                    costs.seconds,
                    costs.bytes,
                )
