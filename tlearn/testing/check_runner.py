"""Runs the checks: one by one for the command line, or as parametrised tests."""

import time
import unittest
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tlearn.backbones.contract import Backbone
from tlearn.errors import one_line
from tlearn.testing.checks import CHECKS, Check

State = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Outcome:
    """The result of one check.

    Attributes:
        check: Its name.
        state: Whether the backbone passed, failed, or the check does not apply.
        reason: Why it failed or does not apply.
        seconds: How long it took.
    """

    check: str
    state: State
    reason: str
    seconds: float


def run_checks(backbone: Backbone, checks: Iterable[Check] = CHECKS) -> Iterator[Outcome]:
    """Yield the outcome of every check, or of those given, one by one."""
    for check in checks:
        start = time.monotonic()
        state: State = "passed"
        reason = ""
        try:
            check(backbone)
        except unittest.SkipTest as skipped:
            state, reason = "skipped", str(skipped)
        # A backbone may fail in any way at all.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            state, reason = "failed", kind + one_line(error, 400)
        yield Outcome(check.__name__, state, reason, time.monotonic() - start)


def backbone_checks(
    *backbones: Backbone, expected_failures: Mapping[str, Mapping[str, str]] | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Parametrise a test by ``backbone`` and ``check``: every check for every backbone.

    Args:
        *backbones: The backbones.
        expected_failures: By a backbone's name, the checks that it fails, each with the reason.
            They become strict expected failures of pytest: one that passes after all is an error.

    Raises:
        ValueError: If an expected failure names a backbone or a check that is not there.

    Example:
        >>> @backbone_checks(VIT, expected_failures={"vit": {"check_x": "why"}})  # doctest: +SKIP
        ... def test_backbone(backbone, check):
        ...     check(backbone)
    """
    import pytest

    expected = expected_failures or {}
    names = {check.__name__ for check in CHECKS}
    unknown = {*expected} - {backbone.name for backbone in backbones}
    unknown |= {name for failures in expected.values() for name in failures} - names
    if unknown:
        raise ValueError(
            f"expected_failures must name backbones of this test, and of their checks any of "
            f"{', '.join(sorted(names))}. Received: {', '.join(sorted(unknown))}"
        )

    def parameters(backbone: Backbone, check: Check) -> Any:
        reason = expected.get(backbone.name, {}).get(check.__name__)
        marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
        return pytest.param(backbone, check, id=f"{backbone.name}-{check.__name__}", marks=marks)

    return pytest.mark.parametrize(
        ("backbone", "check"),
        [parameters(backbone, check) for backbone in backbones for check in CHECKS],
    )
