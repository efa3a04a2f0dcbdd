"""One stage of a training: its epochs, and what competes on validation meanwhile."""

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tlearn.config import Stage
from tlearn.keras_import import keras
from tlearn.metrics import MONITORS
from tlearn.training.callbacks import Fit, StageCallbacks, is_settled, steering
from tlearn.training.mixing import Batch, mix
from tlearn.training.network import Network, assign, copies
from tlearn.training.score import ValidationScore, is_better
from tlearn.training.setup import Setup
from tlearn.training.state import Ends, Member, StageResult, TrainingState
from tlearn.training.tensorboard_log import TensorBoardLog

AVERAGES = (0.5, 0.75)  # weights of the average: 0 is before the stage, 1 after it
CHECK_BATCH = 64  # images per step where nothing is learnt
EPOCH_COLUMNS = ("learning_rate", "loss", "accuracy", *MONITORS)


@dataclass(frozen=True)
class Training:
    """What the stages of a training work with.

    Attributes:
        callbacks: Keras callbacks to which all stages are one fit.
        stage_callbacks: Gives those of a stage, to which it is a fit of its own.
        record: Is given every next state, to save and log it. It may raise ``KeyboardInterrupt``.
        model_class: Of what a stage trains, as of :func:`tlearn.training.own_step.with_step`.
    """

    setup: Setup
    network: Network
    callbacks: Sequence[Any]
    stage_callbacks: Callable[[Stage], Sequence[Any]]
    record: Callable[[TrainingState], None]
    model_class: Any = keras.Model

    @property
    def variables(self) -> list[Any]:
        """The variables that any stage changes."""
        return self.network.changing(plan.trainable for plan in self.setup.stages)

    def stopped(self, state: TrainingState) -> TrainingState:
        """Return a state marked as stopped, where a ``KeyboardInterrupt`` is handled.

        A worker that others wait for cannot end the stage alone: it raises the interrupt again.
        """
        if self.setup.replicas.workers:
            raise
        return replace(state, stopped=True)

    def fit(self, state: TrainingState) -> Fit:
        """Return the callbacks of the training, with what they remember of before."""
        memory, say = state.callbacks.get("training", ()), self.setup.progress.say
        return Fit(self.callbacks, self.network.view(), memory, say)


class StageFit:
    """One stage: its model and its feeds, and the callbacks of the whole training."""

    def __init__(
        self, training: Training, whole: Fit, number: int, initial: list[np.ndarray]
    ) -> None:
        setup, network = training.setup, training.network
        self.training, self.number, self.initial = training, number, initial
        self.whole, self.replicas = whole, setup.replicas
        self.plan = setup.stages[number]
        self.stage = self.plan.stage
        self.precision = setup.activations.choice.precision
        self.model = network.suffix(self.plan.boundary, training.model_class)
        self.feed, self.check = setup.feeds(network, number)
        self.steps = self.feed.steps(self.stage.batch_size)
        self.factors = network.rate_factors(self.stage.block_rate)
        self.variables = training.variables
        others = {id(variable) for variable in network.whole.variables}
        self.own = [v for v in self.model.variables if id(v) not in others]  # of an own step

    def start(self, state: TrainingState) -> TrainingState:
        """Begin the stage, or go on after its last epoch; return the state.

        The model must be compiled: going on restores the variables of its optimizer.
        """
        if state.epoch:
            assign(self.variables, state.arrays["network"])
            assign(self.model.optimizer.variables, state.arrays["optimizer"])
            assign(self.own, state.arrays["step"])
        else:
            state = self._begin(state)
        self._start = time.monotonic() - state.results[-1].seconds
        return state

    def _begin(self, state: TrainingState) -> TrainingState:
        """Return the state with the result of this stage, in which nothing is trained yet."""
        boundary = self.plan.boundary.name if self.plan.boundary else "head"
        self._start_statistics()
        results = (*state.results, StageResult(self.stage.title, boundary))
        return replace(state, results=results, start=state.best_number)

    def _start_statistics(self) -> None:
        """Give batch normalisations that were never trained the statistics of a batch.

        Their moving averages begin at 0 and 1, and take hundreds of steps to forget it.
        """
        norms = [
            layer
            for layer in self.model._flatten_layers()
            if isinstance(layer, keras.layers.BatchNormalization)
            and layer.trainable
            and not np.any(layer.moving_mean)
        ]
        if norms:
            momenta = [layer.momentum for layer in norms]
            for layer in norms:
                layer.momentum = 0.0
            try:
                self.model(self._first_batch()[0], training=True)
            finally:  # of the layers themselves, which are saved with the model
                for layer, momentum in zip(norms, momenta, strict=True):
                    layer.momentum = momentum

    def _first_batch(self) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        """Return inputs, targets and weights of the first batch of the stage."""
        with contextlib.closing(self.feed.epoch(0, self.stage.batch_size)) as batches:
            inputs, rows = next(batches)
        return inputs, *self.training.setup.targets.of(rows)

    def run(self, state: TrainingState) -> TrainingState:
        """Train the remaining epochs; record the state after each, and return the last."""
        stage, progress = self.stage, self.training.setup.progress
        callbacks = self._callbacks(state)
        total = (stage.epochs - state.epoch) * self.steps
        with progress.task(f"training {stage.title}", total, "steps") as task:
            try:
                callbacks.start()
                while state.epoch < stage.epochs and not state.ends:
                    callbacks.epoch("on_epoch_begin", state.epoch)
                    logs = self._epoch(state.epoch, callbacks, task.advance)
                    callbacks("on_test_begin")
                    with self._averaged():
                        score, logits = self._score()
                        if is_settled(stage, state.epoch + 1):
                            state = self._offer(state, score, logits)
                    figures = score.figures.items()
                    callbacks("on_test_end", {n.removeprefix("val_"): x for n, x in figures})
                    rate = float(self.model.optimizer.learning_rate)
                    logs |= {**score.figures, "learning_rate": rate}
                    callbacks.epoch("on_epoch_end", state.epoch, logs)
                    state = self._after_epoch(state, logs, callbacks)
                    task.advance(0, f"validation {score.accuracy:.3f}")
                    self.training.record(state)
            except KeyboardInterrupt:
                state = self.training.stopped(state)
        callbacks.own.end()
        return state

    def _callbacks(self, state: TrainingState) -> StageCallbacks:
        """Return the callbacks of the stage and of the training, which see the same model."""
        stage, model = self.stage, self.whole.model
        model.compile(self.model.optimizer, "categorical_crossentropy", ["accuracy"])
        model.stop_training = False
        for callback in self.training.callbacks:
            if isinstance(callback, TensorBoardLog):
                callback.enter_stage(self.number + 1, self.model, self._first_batch())
        say = self.training.setup.progress.say
        past = list(zip(self.training.setup.stages, state.results[:-1], strict=False))
        own = [*self.training.stage_callbacks(stage), *steering(stage, say)]
        return StageCallbacks(
            self.whole,
            Fit(own, model, state.callbacks.get("stage", ()) if state.epoch else (), say),
            past=sum(result.epochs for _, result in past),
            epochs=stage.epochs,
            steps=self.steps,
            past_steps=sum(r.epochs * self.feed.steps(p.stage.batch_size) for p, r in past),
        )

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Set the averages that the optimizer keeps of the weights, if it does (``use_ema``)."""
        optimizer, variables = self.model.optimizer, self.model.trainable_variables
        if not optimizer.use_ema:
            yield
            return
        present = copies(variables)
        optimizer.finalize_variable_values(variables)
        try:
            yield
        finally:
            assign(variables, present)

    def average(self, state: TrainingState) -> TrainingState:
        """Let averages of the weights before and after the stage compete with its epochs."""
        before = weights_of(state, state.start, self.initial)
        with self._averaged():
            after = copies(self.variables)
        complete = not state.stopped and is_settled(self.stage, state.epoch)
        # Where a stage ends before it is settled, its last weights have not competed yet.
        try:
            for part in AVERAGES if complete else (1.0, *AVERAGES):
                assign(self.variables, between(before, after, part))
                state = self._offer(state, *self._score())
        except KeyboardInterrupt:
            state = self.training.stopped(state)
        return state.with_result(seconds=time.monotonic() - self._start)

    def leave(self, state: TrainingState) -> TrainingState:
        """Return the state at the beginning of the next stage."""
        of_stage = ("network", "optimizer", "step")
        arrays = {name: a for name, a in state.arrays.items() if name not in of_stage}
        arrays["seeds"] = self.training.network.seeds
        whole = {"training": state.callbacks.get("training", [])}
        return replace(
            state, stage_index=self.number + 1, epoch=0, ends="", callbacks=whole, arrays=arrays
        )

    def _after_epoch(
        self, state: TrainingState, logs: dict[str, float], callbacks: StageCallbacks
    ) -> TrainingState:
        """Return the state after an epoch, at whose end callbacks may have stopped the stage."""
        setup, result = self.training.setup, state.results[-1]
        row: dict[str, Any] = {
            "stage": self.stage.title,
            "epoch": state.epoch + 1,
            **{name: float(logs[name]) for name in EPOCH_COLUMNS},
        }
        ends: Ends = "stage" if self.replicas.any(callbacks.stopped) else ""
        if self.replicas.any(time.monotonic() >= setup.deadline):
            ends = "training"
            setup.progress.say("time budget used up: stopping here")
        state = replace(state, epoch=state.epoch + 1, ends=ends)
        state = state.with_result(
            epochs=state.epoch,
            seconds=time.monotonic() - self._start,
            history=(*result.history, row),
        )
        arrays = {
            **state.arrays,
            "network": copies(self.variables),
            "optimizer": copies(self.model.optimizer.variables),
            "step": copies(self.own),
            "seeds": self.training.network.seeds,
        }
        return replace(state, arrays=arrays, callbacks=callbacks.memory())

    def _offer(
        self, state: TrainingState, score: ValidationScore, logits: np.ndarray
    ) -> TrainingState:
        """Take the weights as they are if their score is better than those of the stage so far."""
        monitor = self.stage.monitor
        if is_better(score, state.results[-1].score, monitor):
            member = Member(self.number + 1, copies(self.variables), logits)
            state = state.with_result(score=score).with_member(member)
        if is_better(score, state.best, monitor):
            state = replace(state, best=score, best_number=self.number + 1)
        return state

    def _epoch(
        self, number: int, callbacks: StageCallbacks, advance: Callable[[int], None]
    ) -> dict[str, float]:
        """Train for one epoch; return the mean loss and accuracy of its batches, all of a size."""
        targets, stage = self.training.setup.targets, self.stage
        every, seed, past = [], self.feed.seed, self.feed.past
        own, whole = self.replicas.own(self.feed.size(stage.batch_size)), slice(None)
        # An image may be mixed with one of another worker: then each worker reads the whole batch.
        read, used = (whole, own) if stage.mixup or stage.cutmix else (own, whole)
        for step, (inputs, rows) in enumerate(self.feed.epoch(number, stage.batch_size, read)):
            callbacks("on_train_batch_begin", step)
            batch = mix((inputs, *targets.of(rows)), stage, (seed, past + number, step))
            logs = train_on_batch(self.model, *part_of(batch, used))
            every.append(logs)
            callbacks("on_train_batch_end", step, logs)
            advance(1)
            if self.replicas.any(callbacks.stopped):
                break
        return {name: float(np.mean([batch[name] for batch in every])) for name in every[0]}

    def _score(self) -> tuple[ValidationScore, np.ndarray]:
        """Return the score of the network as it is on validation, and its logits."""
        targets = self.training.setup.targets
        n, classes = len(targets.validation), len(targets.class_weights)
        check = replace(self.check, files=self.check.files[self.replicas.own(n)])
        parts = [np.empty((0, classes), np.float32)]
        size = max(1, min(CHECK_BATCH, len(check.files)))
        for inputs, rows in check.plain(size):
            padding = size - len(rows)  # another shape would be traced again
            full = [np.concatenate([x, x[:1].repeat(padding, axis=0)]) for x in inputs]
            parts.append(self.model.predict_on_batch(full)[: len(rows)])
        logits = self.replicas.rows(np.concatenate(parts), n)
        return ValidationScore.of(targets.validation, logits), logits


def weights_of(
    state: TrainingState, number: int | None, initial: list[np.ndarray]
) -> list[np.ndarray]:
    """Return the weights of a member, or the initial ones for ``None``."""
    return next((m.weights for m in state.members if m.number == number), initial)


def between(
    before: Sequence[np.ndarray], after: Sequence[np.ndarray], part: float
) -> list[np.ndarray]:
    """Return the weights ``before + part * (after - before)``."""
    return [a + part * (b - a) for a, b in zip(before, after, strict=True)]


def part_of(batch: Batch, part: slice) -> Batch:
    """Return some images of a batch."""
    inputs, targets, weights = batch
    return [x[part] for x in inputs], targets[part], weights[part]


def train_on_batch(
    model: Any, inputs: Any, targets: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, float]:
    """Do one training step; return the loss and accuracy of this batch alone."""
    with warnings.catch_warnings():
        # Some backbones have weights that only their pretraining used, as for hidden patches.
        warnings.filterwarnings("ignore", "Gradients do not exist for variables", UserWarning)
        return dict(model.train_on_batch(inputs, targets, weights, return_dict=True))
