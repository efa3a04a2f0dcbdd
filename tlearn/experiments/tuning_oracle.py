"""The oracles of KerasTuner, which propose the trials of a search and are given their figures."""

from pathlib import Path
from typing import Any, Literal

from tlearn.errors import ConfigError
from tlearn.experiments.tuning_request import Request
from tlearn.experiments.tuning_results import Trial
from tlearn.experiments.tuning_space import hyperparameters, keras_tuner
from tlearn.metrics import Metric

TunerName = Literal["hyperband", "random", "bayesian", "grid"]
TUNERS: tuple[TunerName, ...] = ("hyperband", "random", "bayesian", "grid")
THIRDS = 3  # Hyperband trains with a third or all of the epochs; fewer tell little of a stage


def new_oracle(request: Request, metric: Metric, seed: int, folder: Path) -> Any:
    """Return an oracle that knows no trial yet.

    Args:
        request: The search.
        metric: What trials are compared by.
        seed: Above 0, which would be a random one.
        folder: Where it may write.
    """
    oracles, tuner, trials = keras_tuner().oracles, request.tuner, request.trials
    direction = "max" if metric.higher_is_better else "min"
    common = {
        "objective": keras_tuner().Objective(metric.key, direction),
        "hyperparameters": hyperparameters(request.varying),
        "seed": seed,
    }
    if tuner == "hyperband":
        rounds = {"max_epochs": THIRDS, "factor": THIRDS, "hyperband_iterations": 0}
        oracle = oracles.HyperbandOracle(**rounds, **common)
        oracle.max_trials = trials  # it has no such argument
    else:
        names = {"random": "RandomSearch", "bayesian": "BayesianOptimization"}
        kind = getattr(oracles, f"{names.get(tuner, 'GridSearch')}Oracle")
        oracle = kind(max_trials=trials, **common)
    oracle.verbose = 0
    oracle._set_project_dir(str(folder), "oracle")
    return oracle


def end_trial(oracle: Any, proposal: Any, trial: Trial, metric: Metric) -> None:
    """Give an oracle the score of a trial that it proposed.

    Raises:
        ConfigError: If it gives up, because several in a row failed.
    """
    if trial.figures:
        oracle.update_trial(proposal.trial_id, {metric.key: trial.figures[metric.key]})
    proposal.status = "COMPLETED" if trial.figures else "FAILED"
    try:
        oracle.end_trial(proposal)
    except RuntimeError:
        raise ConfigError(
            f"three trials in a row could not be trained; the last one, {trial.text}: {trial.error}"
        ) from None
