"""The training loop: stages, each one freeze, recompile, fit."""

import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tlearn.config import Stage
from tlearn.errors import ConfigError
from tlearn.features.precision import computing_in
from tlearn.keras_import import keras
from tlearn.progress import Progress
from tlearn.training.feed import Feed
from tlearn.training.network import Network
from tlearn.training.stage_runner import BestWeights, StageProgress
from tlearn.training.stages import Plan
from tlearn.training.state import Checkpointer, StageResult, ValidationScore

AVERAGES = (0.5, 0.75)  # parts of the way from the weights before a stage to those after it
CHECK_BATCH = 64  # images per step where nothing is learnt
Listener = Callable[..., None]  # called with the kind of event, and its fields by name


@dataclass(frozen=True)
class Targets:
    """What the feeds' images are: class indices, and the weight of each class in the loss."""

    train: np.ndarray
    validation: np.ndarray
    class_weights: np.ndarray


@dataclass(frozen=True)
class Conditions:
    """How stages are trained.

    Attributes:
        progress: Where to show progress.
        tell: Hears of every epoch and stage.
        callbacks: Gives Keras callbacks for a stage; each stage is a fit of its own to them.
        precision: What the backbone's products are computed in.
        deadline: When to stop, by :func:`time.monotonic`.
        checkpointer: Keeps checkpoints; where it has found one, the training goes on from there.
    """

    progress: Progress
    tell: Listener
    callbacks: Callable[[Stage], Sequence[Any]] = lambda stage: ()
    precision: str = "float32"
    deadline: float = np.inf
    checkpointer: Checkpointer = field(default_factory=Checkpointer)

    def late(self) -> bool:
        """Tell whether the time is over."""
        return time.monotonic() >= self.deadline


def train(
    network: Network,
    plans: Sequence[Plan],
    feeds: Callable[[Plan], tuple[Feed, Feed]],
    targets: Targets,
    best: ValidationScore | None,
    conditions: Conditions,
) -> tuple[list[StageResult], bool]:
    """Train stage by stage; the network ends with the best weights found on the way.

    When a stage ends, the averages of the weights before and after it compete with its last epochs
    (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022: they cost nothing and are
    often surer). What is best on validation stays. A stage in which nothing beats what was before
    is rolled back, so a longer training is never worse than a shorter one there.

    Between epochs, and whenever a stage ends, the keeper gets all that is needed to go on from
    there. What is continued so comes to the very weights it would have come to.

    Args:
        network: What is trained.
        plans: The stages.
        feeds: Gives the training and the validation feed of a stage.
        targets: Class indices and weights.
        best: The score of the network as it is; ``None`` if its head is random.
        conditions: How they are trained.

    Returns:
        A result per stage begun, and whether the user stopped the training.

    Raises:
        ConfigError: If a head that started at random never came to finite numbers.
    """
    stopped = False
    stages = StageProgress(network, plans, best, conditions.checkpointer)
    best_weights = stages.best_weights
    for plan in stages.left():
        result = stages.begin(plan)
        try:
            network.freeze(plan.trainable)
            model = network.suffix(plan.boundary)
            with computing_in(conditions.precision, model):
                fit = _Fit(
                    model, plan.stage, *feeds(plan), targets, result, best_weights, conditions
                )
                compile_for(model, plan.stage, fit.steps)
                stages.enter(model.optimizer)
                stopped = fit.run(stages.note)
                after = network.snapshot()
                offered = not stopped and _settled(plan.stage, result.epochs - 1)
                for part in AVERAGES if offered else (1.0, *AVERAGES):
                    network.restore(_between(stages.before, after, part))
                    best_weights.offer(fit.score(), result)
        except KeyboardInterrupt:  # between the epochs, or again
            stopped = True
        network.restore(best_weights.weights)
        stages.end(stopped)
        conditions.tell("stage", name=result.name, accuracy=result.score.accuracy, kept=result.kept)
        if stopped or conditions.late():
            break
    if best_weights.score is None and not stopped:
        conditions.checkpointer.forget()
        raise ConfigError(
            f"the training of the head diverged in stage {stages.results[-1].name!r}; give its "
            f"stages a lower learning_rate"
        )
    return stages.results, stopped


@dataclass
class _Fit:
    """The epochs of a stage, as Keras's ``fit`` runs them, from explicit arrays.

    A ``tf.data`` iterator would leave a core idle in some epochs, at random.
    """

    model: Any
    stage: Stage
    feed: Feed
    check: Feed
    targets: Targets
    result: StageResult
    best_weights: "BestWeights"
    conditions: Conditions

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return self.feed.steps(self.stage.batch_size)

    def run(self, note: Callable[[Any], None]) -> bool:
        """Train the epochs that are left; return whether the user stopped it.

        Args:
            note: Called between epochs with the optimizer.
        """
        stage, steps = self.stage, self.steps
        callbacks = list(self.conditions.callbacks(stage))
        progress = self.conditions.progress
        self.model.stop_training = False
        heard = keras.callbacks.CallbackList(
            callbacks,
            model=self.model,
            epochs=stage.epochs,
            steps=steps,
            verbose=0,
        )
        logs: dict[str, float] = {}
        stopped = False
        total = (stage.epochs - self.result.epochs) * steps
        with progress.task(f"training {stage.title}", total, "steps") as task:
            try:
                heard.on_train_begin()
                for epoch in range(self.result.epochs, stage.epochs):
                    heard.on_epoch_begin(epoch)
                    logs = self._epoch(epoch, heard, task.advance)
                    heard.on_test_begin()
                    score = self.score()
                    logs |= {"val_loss": -score.negative_loss, "val_accuracy": score.accuracy}
                    heard.on_test_end(logs)
                    heard.on_epoch_end(epoch, logs)
                    self._note(epoch, logs, score)
                    task.advance(0, f"validation {score.accuracy:.3f}")
                    if self.model.stop_training or _exhausted(self.result.history, stage):
                        break
                    if self.conditions.late():
                        progress.say("the time budget is used up: stopping here")
                        break
                    if epoch + 1 < stage.epochs:  # else the stage ends, and is noted then
                        note(self.model.optimizer)
            except KeyboardInterrupt:
                stopped = True
        heard.on_train_end(logs)
        return stopped

    def _note(self, epoch: int, logs: dict[str, float], score: ValidationScore) -> None:
        rate = float(self.model.optimizer.learning_rate)
        row = {"stage": self.stage.title, "epoch": epoch + 1, "learning_rate": rate, **logs}
        self.result.history.append(row)
        self.result.epochs = epoch + 1
        self.conditions.tell("epoch", **row)
        if _settled(self.stage, epoch):
            self.best_weights.offer(score, self.result)

    def _epoch(self, number: int, heard: Any, advance: Callable[[int], None]) -> dict[str, float]:
        """Train for one epoch; return the mean loss and accuracy."""
        targets = self.targets
        one_hot = np.eye(len(targets.class_weights), dtype=np.float32)
        sums: dict[str, float] = defaultdict(float)
        seen = 0
        for step, (inputs, rows) in enumerate(self.feed.epoch(number, self.stage.batch_size)):
            heard.on_train_batch_begin(step)
            y = targets.train[rows]
            logs = self.model.train_on_batch(
                inputs, one_hot[y], targets.class_weights[y], return_dict=True
            )
            for name, value in logs.items():  # of this batch alone
                sums[name] += float(value) * len(rows)
            seen += len(rows)
            heard.on_train_batch_end(step, logs)
            advance(1)
        return {name: value / seen for name, value in sums.items()}

    def score(self) -> ValidationScore:
        """Score the network as it is on validation."""
        found = []
        size = min(CHECK_BATCH, len(self.check.files))
        for inputs, rows in self.check.plain(size):
            short = size - len(rows)  # filled up: another shape would be traced anew
            full = [np.concatenate([x, x[:1].repeat(short, axis=0)]) for x in inputs]
            found.append(self.model.predict_on_batch(full)[: len(rows)])
        return ValidationScore.of(self.targets.validation, np.concatenate(found))


def _between(
    before: Sequence[np.ndarray], after: Sequence[np.ndarray], part: float
) -> list[np.ndarray]:
    """Return the weights at ``part`` of the way from before to after."""
    return [a + part * (b - a) for a, b in zip(before, after, strict=True)]


def _settled(stage: Stage, epoch: int) -> bool:
    """Tell whether the rate has come down so far that an epoch's score can be trusted.

    At a high rate the weights leap about, and the best of many such epochs on a small validation
    set is mostly luck: measured on held-back photos, the last quarter of a cosine is better.
    """
    return stage.schedule == "constant" or epoch + 1 > 0.75 * stage.epochs


def _exhausted(history: Sequence[dict[str, Any]], stage: Stage) -> bool:
    """Tell whether to stop early: never in the first half, where a stage falls before it rises."""
    if not np.isfinite(history[-1]["loss"]):
        return True
    scores = [(row["val_accuracy"], -row["val_loss"]) for row in history]
    since_best = len(scores) - 1 - scores.index(max(scores))
    ripe = len(history) > stage.epochs // 2 and _settled(stage, len(history) - 1)
    return ripe and since_best >= stage.patience


def compile_for(model: Any, stage: Stage, steps: int) -> None:
    """Compile a suffix with the optimizer and the schedule of a stage of ``steps`` per epoch."""
    # Some backbones have weights that their first training alone used, as for hidden patches.
    warnings.filterwarnings("ignore", "Gradients do not exist for variables", UserWarning)
    total = stage.epochs * steps
    warmup = round(stage.warmup * total)
    rate: Any = stage.learning_rate
    if stage.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else rate,
            max(1, total - warmup),
            warmup_target=rate if warmup else None,
            warmup_steps=warmup,
        )
    options: dict[str, Any] = {}
    if stage.weight_decay:
        options["weight_decay"] = stage.weight_decay
    elif stage.optimizer == "adamw":
        options["weight_decay"] = 0.0  # Keras's own default is not ours
    if stage.optimizer in ("sgd", "rmsprop"):
        options["momentum"] = stage.momentum
    kinds = {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "sgd": keras.optimizers.SGD,
        "rmsprop": keras.optimizers.RMSprop,
    }
    model.compile(
        kinds[stage.optimizer](rate, **options),
        keras.losses.CategoricalCrossentropy(True, stage.label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy("accuracy")],  # unweighted, as on validation
    )
    # Variables that were made in the first step would have it traced twice.
    model.optimizer.build(model.trainable_variables)
