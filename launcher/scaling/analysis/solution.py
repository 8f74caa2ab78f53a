"""Time to solution by the rule of MLPerf HPC.

A size is run at least five times; the fastest and the slowest run are dropped, and the others are
averaged (MLPerf HPC Training Rules, "Benchmark Results", which ask for five or ten runs, with rule
11 of the MLPerf Training Rules; https://github.com/mlcommons/training_policies). Data staging
counts, and nothing is extrapolated. The other rules of the benchmark (its data sets, its tasks,
flushed caches) are not followed: no figure here is an MLPerf result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST_RUNS = 5


def time_to_solution(seconds: Sequence[float]) -> float | None:
    """Mean time of the runs that reached the target, without the fastest and the slowest.

    Returns:
        None where there are fewer than LEAST_RUNS.
    """
    if len(seconds) < LEAST_RUNS:
        return None
    return float(np.mean(np.sort(np.asarray(seconds, float))[1:-1]))


def plain_mean(values: Sequence[float]) -> float | None:
    """The arithmetic mean; None: there are no values."""
    return float(np.mean(values)) if len(values) else None
