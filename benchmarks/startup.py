"""How long ``tlearn --help`` takes, in bare starts of Python."""

import statistics

from benchmarks.common import python


def startup(times: int = 15) -> dict[str, float]:
    """Run ``python -c pass`` and ``tlearn --help`` in turn; return medians and their ratio."""
    bare, shown = [], []
    for _ in range(times):
        bare.append(python("-c", "pass").seconds)
        shown.append(python("-m", "tlearn", "--help").seconds)
    seconds, base = statistics.median(shown), statistics.median(bare)
    return {"seconds": seconds, "bare_seconds": base, "ratio": seconds / base}
