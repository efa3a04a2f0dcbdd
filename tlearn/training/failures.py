"""Errors that end a training without being a fault of tlearn's, in one line with advice."""

import contextlib
import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tlearn.backbones import load_registry
from tlearn.config import RunConfig
from tlearn.errors import BackboneError, RunError, TlearnError, one_line
from tlearn.progress import Progress
from tlearn.runs.directory import RunDirectory, resume_hint
from tlearn.training.workers import MissingWorkerError, Workers

if TYPE_CHECKING:
    from tlearn.training.state import Checkpoint

# As OpenVINO, oneDNN and TensorFlow say it, whatever class of error they raise.
NO_MEMORY = ("std::bad_alloc", "bad allocation", "out of memory", "resource_exhausted", "oom when")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# TensorFlow's errors where it cannot reach another worker.
UNREACHABLE = (
    "AbortedError",
    "CancelledError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "UnavailableError",
)
FRAMEWORKS = ("keras", "tensorflow", "openvino")


@contextlib.contextmanager
def explain_errors(
    run: RunDirectory,
    config: RunConfig,
    checkpoint: "Checkpoint",
    progress: Progress,
    workers: Workers | None = None,
) -> Iterator[None]:
    """Save the checkpoint if a training ends early; say why it did and how to continue it."""
    try:
        yield
    except BaseException as error:
        checkpoint.flush()
        failure = unreachable_worker(error, workers) or explain_failure(error, config) or error
        if checkpoint.path.is_file():
            hint = resume_hint(run.path)
            failure.add_note(hint)
            if isinstance(failure, KeyboardInterrupt):
                progress.say(hint)
        if failure is error:
            raise
        raise failure from error


def explain_failure(error: BaseException, config: RunConfig) -> TlearnError | None:
    """Return the error to show for one that ended a training; ``None`` if its cause is unknown."""
    if isinstance(error, TlearnError):
        return error
    if is_out_of_memory(error):
        batch = max((stage.batch_size for stage in config.stages or ()), default=32)
        return RunError(
            f"out of memory while {config.backbone} was trained at {config.size} pixels with a "
            f"batch size of {batch}; give stages a smaller batch_size, give a smaller --size, or "
            f"unfreeze fewer blocks"
        )
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return RunError(
            f"{error.strerror} while the run directory was written; make room on its disk"
        )
    backbone = load_registry().get(config.backbone)
    package = _raised_in(error)
    theirs = (*FRAMEWORKS, _top(getattr(backbone.build, "__module__", "")))
    if package in (*theirs, *map(_top, backbone.modules)):
        return BackboneError(
            f"{package} failed while {config.backbone} was trained ({type(error).__name__}: "
            f"{one_line(error)}); 'tlearn plugins check {config.backbone}' says whether the "
            f"backbone is at fault"
        )
    return None


def unreachable_worker(error: BaseException, workers: Workers | None) -> MissingWorkerError | None:
    """Return the error to show where another worker has ended; ``None`` if that is not the cause.

    TensorFlow notices it at once if its process ended, and otherwise within about ten seconds.
    """
    if workers is None or not isinstance(error, Exception):
        return None
    if type(error).__name__ not in UNREACHABLE:
        return None
    return MissingWorkerError.of(workers)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory was not enough, whoever raised it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, Exception) and any(words in text for words in NO_MEMORY)


def _raised_in(error: BaseException) -> str:
    """Return the top package of the code that raised an error."""
    trace = error.__traceback__
    name = ""
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next
    return _top(name) if isinstance(error, Exception) else ""


def _top(module: str) -> str:
    return module.partition(".")[0]
