"""The training loop: stages, each one freeze, recompile, fit."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tlearn.features.precision import computing_in
from tlearn.training.compile import compile_for
from tlearn.training.network import Network, assign, copies
from tlearn.training.stage_fit import StageFit, Training, weights_of
from tlearn.training.stages import StagePlan
from tlearn.training.state import TrainingState


def run_stages(training: Training, state: TrainingState) -> TrainingState:
    """Train until all stages are over, the time is, or the user stops it; return the last state.

    When a stage ends, the averages of the weights before and after it compete with its last epochs
    (Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022: they cost nothing and are
    often better). The best of each on validation may be a member of the model, and the next goes
    on from the best so far: a stage in which nothing beats what was before is rolled back.

    A training resumed from any of the states recorded ends with the very same weights. After a
    ``KeyboardInterrupt`` the last state is marked as stopped; it holds the best weights, and is not
    to be continued: the one before it is.
    """
    stages, over = training.setup.stages, False
    initial = state.arrays.get("initial") or copies(training.variables)
    restore(training, state, initial)
    whole = training.fit(state)
    if state.ends == "training":
        state = replace(state, ends="stage")  # of a training that goes on: it has time again
    try:
        while state.stage_index < len(stages) and not over:
            plan = stages[state.stage_index]
            training.network.freeze(plan.trainable, plan.batch_norm)
            fit = StageFit(training, whole, state.stage_index, initial)
            with computing_in(fit.precision, fit.model):
                compile_for(fit.model, plan.stage, fit.steps, fit.factors)
                state = fit.run(fit.start(state))
                state = fit.average(state)
            assign(fit.variables, weights_of(state, state.best_number, initial))
            over = state.stopped or state.ends == "training"
            state = state if state.stopped else fit.leave(state)
            training.record(state)
        whole.end()
    except KeyboardInterrupt:  # between the epochs: within one the stage notices by itself
        state = training.stopped(state)
        restore(training, state, initial)
    return state


def restore(training: Training, state: TrainingState, initial: list[np.ndarray]) -> None:
    """Give the network the best weights of a state, and its random numbers."""
    assign(training.variables, weights_of(state, state.best_number, initial))
    if "seeds" in state.arrays:
        training.network.seeds = state.arrays["seeds"]


def check_state(network: Network, stages: Sequence[StagePlan], state: TrainingState) -> None:
    """Refuse a state that is not of this network and these stages.

    Raises:
        ValueError: If it is of others.
        KeyError: If it lacks arrays.
    """
    shapes = [tuple(v.shape) for v in network.changing(plan.trainable for plan in stages)]
    weights = [member.weights for member in state.members]
    weights += [state.arrays["network"]] if state.epoch else []
    weights += [state.arrays["initial"]] if "initial" in state.arrays else []
    if any([array.shape for array in arrays] != shapes for arrays in weights):
        raise ValueError("its weights are not those of this network")
    if {state.best_number, state.start} - {None, *(member.number for member in state.members)}:
        raise ValueError("its best network is missing")
    if len(state.arrays["seeds"]) != len(network.seeds):
        raise ValueError("its random numbers are not those of this network")
