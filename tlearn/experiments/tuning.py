"""Tuning: a search of configurations with the oracles of KerasTuner, and an honest comparison.

A search is a loop: its oracle proposes values, a training gives the figures on validation, and the
oracle is given them. Each trial is a line of ``trials.jsonl``. A search that is continued begins
with a new oracle, which is given the figures that are there already; so it goes on as it would
have, however it ended.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from tlearn.backbones import load_registry
from tlearn.backbones.plugin_sources import folder_options
from tlearn.config import RunConfig
from tlearn.data.read_data import check_data, data_name
from tlearn.data.scan import Manifest
from tlearn.data.splits import list_dataset, load_dataset
from tlearn.errors import ConfigError, DataError, RunError, TlearnError, one_line, os_errors_as
from tlearn.experiments.cluster_trials import parallel_trials, train_on_cluster
from tlearn.experiments.tuning_oracle import THIRDS, TUNERS, end_trial, new_oracle
from tlearn.experiments.tuning_request import (
    PHOTOS,
    REQUEST,
    Request,
    check_same,
    prepare_folder,
    read_request,
    with_own_files,
    without,
    write,
)
from tlearn.experiments.tuning_results import Trial, Tuning, write_results
from tlearn.experiments.tuning_space import (
    as_yaml,
    check_space,
    default_space,
    depths_of,
    hyperparameters,
    read_space,
    values_of,
    with_share,
    with_values,
)
from tlearn.features.cluster_engine import check_cluster
from tlearn.metrics import METRICS
from tlearn.object_stores import as_path
from tlearn.progress import Progress, Silent, console_progress
from tlearn.python_files import files_of
from tlearn.runs.directory import check_free, free_name
from tlearn.runs.run import Run
from tlearn.runs.run_state import read_events, state_of
from tlearn.settings import make_config, to_yaml
from tlearn.text import shell
from tlearn.training.pipeline import finetune, resume

if TYPE_CHECKING:
    from tlearn.experiments.tuning_trials import Evaluation

TUNINGS = Path("tunings")  # where searches go that are given no place
METRIC = "log_loss"  # by which trials are compared: it has no steps, as accuracy has on few photos
OF_SPLITS = ("val", "test", "group", "strict")
TRIALS, DIGEST, LOCK = "trials.jsonl", "photos.digest", ".lock"


def tune(
    data: str | Path,
    out: str | Path | None = None,
    *,
    trials: int = 50,
    tuner: str = "hyperband",
    space: str | Path | Mapping[str, Any] | None = None,
    folds: int = 0,
    repeats: int = 3,
    config: str | Path | RunConfig | None = None,
    quiet: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Tuning:
    """Search a better configuration for a data set, and measure what it gains.

    A test split is held back first, by content and group, unless the data has one. The oracle of
    KerasTuner proposes values, and each trial trains with them on cached activations and is scored
    on validation. Then the configuration of the best trial and the one that was given are trained
    anew and compared on the test split, which decided nothing.

    A folder that holds a search of the same arguments is continued, perhaps with more ``trials``
    or another ``time_budget``; no trial is trained twice.

    Args:
        data: As of :func:`tlearn.finetune`.
        out: The folder to make or to continue; ``tunings/<name of the data>`` if not given.
        trials: How many at most; with ``hyperband`` each round of a configuration is one.
        tuner: ``hyperband``, which gives a trial a third or all of the epochs of its stages,
            ``random``, ``bayesian`` or ``grid``.
        space: By dotted key a list of values, or ``{"min": ..., "max": ...}`` with ``step`` and
            ``sampling``, or a YAML file of that. A space for small photo sets if not given.
        folds: Cross-validate each trial on so many folds of the training and validation images;
            0 scores it on the validation split.
        repeats: How often the best and the given configuration are trained for the comparison.
        config: A configuration or a YAML file of one, for all trials.
        quiet: Show nothing while it works.
        progress: Where to show progress instead of standard error.
        **options: Fields of :class:`tlearn.RunConfig`, for all trials. By ``metric``, log loss if
            not given, trials are compared. ``time_budget`` is that of everything.

    Returns:
        The trials, the best configuration, the runs of the comparison and the gain. In ``path`` are
        ``best.yaml``, for :func:`tlearn.finetune`, ``trials.csv``, ``trials.svg`` and the runs.

    Raises:
        TlearnError: If an argument cannot be used, or no trial could be trained.

    Example:
        >>> tlearn.tune("photos", trials=20, backbone="mobilenet_v2").gain  # doctest: +SKIP
    """
    start = time.monotonic()
    progress = progress or console_progress(quiet)
    path = Path(out) if out else free_name(data_name(as_path(data)), TUNINGS)
    old = path.exists() and (path / REQUEST).exists()
    if not old:
        check_free(path)
    base = make_config(config, options=options)
    budget, base = base.time_budget, without(base, "time_budget")
    if space is None:
        space = read_request(path).space if old else default_space(base)
    space = as_yaml(space) if isinstance(space, Mapping) else read_space(Path(space))
    values = base.model_dump(mode="json", exclude_unset=True)
    place = str(as_path(data).resolve())
    request = Request(place, values, space, tuner, folds, repeats, trials, budget)
    if old:
        check_same(path, request)
    check_data(as_path(data))
    _check(request)
    parallel = read_request(path).parallel if old else parallel_trials(base.cluster)
    request = replace(request, parallel=parallel)
    with os_errors_as(RunError, f"{str(path)!r} cannot be written", "choose another --out"):
        path.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path / LOCK).acquire(timeout=0):
            prepare_folder(path, request, progress)
            return _Search(path, request, start + (budget or np.inf), progress).run()
    except Timeout:
        raise RunError(f"another process works in {str(path)!r}; wait until it ends") from None
    except BaseException as error:
        if not (path / PHOTOS).exists():
            shutil.rmtree(path)
        elif isinstance(error, KeyboardInterrupt):
            command = shell("tlearn", "tune", "--resume", path, *folder_options())
            progress.say(f"to continue: {command}")
        raise


def _check(request: Request) -> None:
    """Refuse what could not be searched, before anything is written.

    Raises:
        TlearnError: If an argument cannot be used, or KerasTuner is not installed.
    """
    for name, value in (("trials", request.trials), ("repeats", request.repeats)):
        if value < 1:
            raise ConfigError(f"{name} must be 1 or more. Received: {value}")
    if request.folds < 0 or request.folds == 1:
        raise ConfigError(
            f"folds must be 2 or more, or 0 for the validation split. Received: {request.folds}"
        )
    if request.tuner not in TUNERS:
        raise ConfigError(f"tuner must be one of {', '.join(TUNERS)}. Received: {request.tuner!r}")
    if request.settings.from_run:
        raise ConfigError("a search takes no from_run: leave it out", "from_run")
    needed = ["keras_tuner", *(["sklearn"] if request.tuner == "bayesian" else [])]
    if not all(map(find_spec, needed)):
        raise ConfigError("tuning needs KerasTuner: pip install 'tlearn[tune]'")
    load_registry().check(request.settings)
    files_of(request.settings)
    configs = check_space(request.space, request.settings)
    hyperparameters(request.varying)
    wanted = request.settings
    names = {config.backbone for config in (wanted, *configs)}
    check_cluster(wanted.cluster, sorted(names), wanted.engine, wanted.precision)
    from tlearn.training.compile import check_arguments  # and Keras, which takes seconds

    for stage in (stage for config in configs for stage in config.stages or ()):
        check_arguments(stage)


class _Search:
    """One search in its folder."""

    def __init__(self, path: Path, request: Request, deadline: float, progress: Progress) -> None:
        self.path, self.request = path, request
        self.deadline, self.progress = deadline, progress
        self.config = without(request.settings, *OF_SPLITS)  # the photos are divided
        metric = self.config.metric if "metric" in request.config else METRIC
        self.metric = METRICS[metric]
        recorded = (Trial(**record) for record in read_events(path / TRIALS))
        self.recorded = {trial.number: trial for trial in recorded}
        self.done: list[Trial] = []

    def run(self) -> Tuning:
        """Search, compare, and write what came out."""
        with tempfile.TemporaryDirectory() as folder:
            self._search(Path(folder))
        best = self.best
        config = self._config_of(best, self.request.settings)
        write(self.path / "best.yaml", to_yaml(config))
        self.progress.say(f"best: trial {best.number} ({best.text})")
        runs = {"default": self._trained("default", self.config)}
        runs["best"] = runs["default"]
        if best.number:
            runs["best"] = self._trained(f"trial-{best.number}", without(config, *OF_SPLITS))
        result = Tuning(self.path, self.metric, self.done, best, config, runs)
        write_results(result)
        if find_spec("tensorboard"):
            from tlearn.experiments.trial_log import log_trials

            log_trials(self.path / "tensorboard", self.done)
        return result

    @property
    def best(self) -> Trial:
        """The best trial so far; of equals the one with less log loss.

        Raises:
            ConfigError: If none could be trained.
        """
        scored = [trial for trial in self.done if trial.figures]
        if not scored:
            raise ConfigError(f"no trial could be trained; the last one: {self.done[-1].error}")
        return min(scored, key=lambda trial: trial.rank(self.metric))

    def _config_of(self, trial: Trial, base: RunConfig) -> RunConfig:
        """Return the configuration of a trial; the first is the one that was given."""
        values = self.request.fixed | trial.values if trial.number else {}
        return with_share(with_values(base, values), trial.share)

    def _search(self, folder: Path) -> None:
        """Do all trials; those that are recorded are not trained."""
        from tlearn.experiments.tuning_trials import Evaluation, parts_of

        data = self.path / PHOTOS
        manifest, splits = load_dataset(list_dataset(data, "", Silent()), self.config, Silent())
        self._check_photos(manifest)
        parts = parts_of(
            replace(splits, test=splits.test[:0]), self.request.folds, self.config.seed
        )
        oracle = new_oracle(self.request, self.metric, self.config.seed + 1, folder)
        depths = depths_of(self.request.space)
        evaluate = Evaluation(manifest, parts, self.path, folder, depths, self.progress)
        self._do([Trial(0, {})], evaluate)
        while True:
            proposals, trials = [], list[Trial]()
            while len(trials) < self.request.parallel:
                proposal = oracle.create_trial(f"tlearn-{len(trials)}")
                if proposal.status != "RUNNING":  # it has no more, or none before these are done
                    break
                values = proposal.hyperparameters.values
                share = values.get("tuner/epochs", THIRDS) / THIRDS
                number = len(self.done) + len(trials)
                proposals.append(proposal)
                trials.append(Trial(number, values_of(self.request.varying, values), share))
            if not trials:
                break
            if trials[-1].number not in self.recorded and not self._has_time():
                self.progress.say("the time budget allows no more trials")
                return
            for proposal, trial in zip(proposals, self._do(trials, evaluate), strict=True):
                end_trial(oracle, proposal, trial, self.metric)
        if len(self.done) <= self.request.trials:
            self.progress.say("the space holds no more trials")

    def _do(self, trials: Sequence[Trial], evaluate: "Evaluation") -> list[Trial]:
        """Return trials with their figures: as recorded, or trained."""
        for trial in trials:
            recorded = self.recorded.get(trial.number)
            if recorded and (recorded.values, recorded.share) != (trial.values, trial.share):
                raise RunError(
                    f"trial {trial.number} in {str(self.path)!r} has other values than the oracle "
                    f"proposes now, as with another version of KerasTuner; begin anew with another "
                    f"--out"
                )
        new = [trial for trial in trials if trial.number not in self.recorded]
        for trial in new:
            self.progress.say(f"trial {trial.number} of {self.request.trials}: {trial.text}")
        for trial in self._train(new, evaluate):
            self.recorded[trial.number] = trial
            self.progress.say(f"  {trial.result(self.metric)}")
        if new:
            lines = (json.dumps(asdict(each)) + "\n" for each in self.recorded.values())
            write(self.path / TRIALS, "".join(lines))
        done = [self.recorded[trial.number] for trial in trials]
        self.done += done
        return done

    def _train(self, trials: Sequence[Trial], evaluate: "Evaluation") -> list[Trial]:
        """Train trials, but those of a configuration that another was of."""
        from tlearn.experiments.tuning_trials import train_trial

        results, new = dict[int, Trial](), list[tuple[Trial, RunConfig]]()
        for trial in trials:
            try:
                config = self._config_of(trial, self.config)
            except TlearnError as error:
                results[trial.number] = replace(trial, error=one_line(error, 1000))
                continue
            text = to_yaml(config)
            same = next((t for t in self.done if t.config == text and t.figures), None)
            if same:
                number, values, share = trial.number, trial.values, trial.share
                results[number] = replace(same, number=number, values=values, share=share)
            else:
                new.append((replace(trial, config=text), config))
        # The first caches the activations, on the cluster itself; later ones only read them.
        if self.config.cluster and self.done:
            apart = [(t, c.model_copy(update={"cluster": ""})) for t, c in new]
            trained = train_on_cluster(apart, evaluate, self.config.cluster)
        else:
            trained = [train_trial(trial, config, evaluate) for trial, config in new]
        results |= {trial.number: trial for trial in trained}
        return [results[trial.number] for trial in trials]

    def _has_time(self) -> bool:
        """Return whether there is time for another trial and the comparison after it."""
        given, best = self.done[0], self.best
        comparison = self.request.repeats * (given.seconds + best.seconds)
        longest = max(trial.seconds for trial in self.done)
        return time.monotonic() + longest + comparison < self.deadline

    def _check_photos(self, manifest: Manifest) -> None:
        """Refuse to continue with other photos.

        Raises:
            DataError: If one has changed.
        """
        file = self.path / DIGEST
        if not file.exists():
            write(file, manifest.digest)
        if file.read_text(encoding="utf-8") != manifest.digest:
            raise DataError(
                f"the photos named by {str(self.path / PHOTOS)!r} have changed since the search "
                f"began; put them back, or begin anew with another --out"
            )

    def _trained(self, name: str, config: RunConfig) -> list[Run]:
        """Train a configuration for the comparison, with several seeds; return the runs."""
        from tlearn.experiments.tuning_trials import releasing_graphs

        runs = []
        for i in range(self.request.repeats):
            path = self.path / (f"{name}-{i + 1}" if i else name)
            one = make_config(config, options={"seed": config.seed + i})
            with releasing_graphs():
                run = self._run(path, one)
            if run.metrics["stopped"]:
                raise KeyboardInterrupt
            runs.append(run)
        return runs

    def _run(self, path: Path, config: RunConfig) -> Run:
        """Return the run of a configuration: finished already, continued, or trained."""
        if not path.exists():
            self.progress.say(f"training {path.name} anew, with seed {config.seed}")
            own = with_own_files(config, self.path)
            return finetune(self.path / PHOTOS, path, config=own, progress=Silent())
        if state_of(path) == "finished":
            return Run(path)
        self.progress.say(f"continuing the training of {path.name}")
        return resume(path, progress=Silent())
