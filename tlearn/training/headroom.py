"""Whether the probe leaves errors that fine-tuning could be seen to mend."""

from tlearn.training.cross_validation import CrossValidation

# Fine-tuning mends half of a probe's errors at best, measured on five photo sets. Of so small a
# part of the photos, a half is under a point; of so few in the validation set, within its noise.
SMALL_ERROR = 0.015
FEW_ERRORS = 4.0


def expected_error(estimate: CrossValidation, accuracy: float, validation: int) -> float:
    """Return the part of new photos that the probe is expected to get wrong.

    It is that of all photos which it was measured on without having been fitted to them.

    Args:
        estimate: The cross-validation on training photos.
        accuracy: The part of the validation photos that it gets right.
        validation: The number of those.
    """
    folds = len(estimate.positions)
    wrong = (1 - estimate.accuracy) * folds + (1 - accuracy) * validation
    return wrong / (folds + validation)


def has_headroom(error: float, validation: int) -> bool:
    """Return whether fine-tuning could improve on an expected error so that it would be seen.

    Args:
        error: As :func:`expected_error` returns.
        validation: The number of validation photos, which decide between probe and fine-tuned
            network.
    """
    return error >= SMALL_ERROR or error * validation >= FEW_ERRORS
