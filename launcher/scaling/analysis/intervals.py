"""95 % intervals of a few repeats: the bootstrap with corrections for small samples.

For small n the interval of the plain percentile bootstrap is too narrow, by √((n−1)/n) because it
uses the variance of the sample for that of the population, and by z/t because it treats this
variance as known (Hesterberg, What Teachers Should Know About the Bootstrap, Am. Stat. 69, 371
(2015), section 4.2). With five repeats it covers the true value in about 84 of 100 cases. Here the
values are moved away from their mean by √(n/(n−1)) before they are drawn, and the quantiles are
widened by t/z, with the degrees of freedom of Welch (Biometrika 34, 28 (1947)). All of this is done
on logarithms, because the noise of a throughput is proportional to it.
benchmarks/interval_coverage.py measures the coverage.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import stats

from launcher.scaling.analysis.results import Estimate

CONFIDENCE = 0.95
RESAMPLES = 2000
LEAST_REPEATS = 2
"""With fewer repeats there is no spread from which an interval could follow."""
_Z = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))


def mean_interval(
    values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """The arithmetic mean of positive values with its interval; a single value has no width."""
    value = float(np.mean(values))
    if len(values) < LEAST_REPEATS:
        return Estimate(value, value, value)
    logs = _logs(values)
    return _around(value, _log_means(logs, seed, resamples), t_ratio(logs.size - 1))


def ratio_interval(
    above: Sequence[float], below: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """The ratio of two means of positive values, which are resampled independently.

    If one of the two has a single value, the uncertainty of the ratio is unknown, and the interval
    is (value, value).
    """
    value = float(np.mean(above) / np.mean(below))
    if min(len(above), len(below)) < LEAST_REPEATS:
        return Estimate(value, value, value)
    first, second = _logs(above), _logs(below)
    drawn = _log_means(first, seed, resamples) - _log_means(second, seed + 1, resamples)
    freedom = _welch(first, second)
    return _around(value, drawn, t_ratio(freedom))


def difference(after: Sequence[float], before: Sequence[float]) -> Estimate:
    """mean(after) − mean(before) for values of any sign, with the interval of Welch's t.

    If one of the two has a single value, the interval is (value, value).
    """
    first, second = np.asarray(after, float), np.asarray(before, float)
    value = float(first.mean() - second.mean())
    if min(first.size, second.size) < LEAST_REPEATS:
        return Estimate(value, value, value)
    error = np.sqrt(first.var(ddof=1) / first.size + second.var(ddof=1) / second.size)
    half = float(_Z * t_ratio(_welch(first, second)) * error)
    return Estimate(value, value - half, value + half)


def scaled(estimate: Estimate, factor: float) -> Estimate:
    """The estimate in another unit."""
    return Estimate(estimate.value * factor, estimate.low * factor, estimate.high * factor)


def _logs(values: Sequence[float]) -> np.ndarray:
    """The logarithms, sorted so that the order of the repeats does not change the draws."""
    return np.log(np.sort(np.asarray(values, float)))


def _log_means(logs: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """Log of the mean of each resample minus log of the mean of all; shape (resamples,)."""
    count = logs.size
    wide = np.exp((logs - logs.mean()) * np.sqrt(count / (count - 1)))
    drawn = wide[_indices(seed, resamples, count)]
    return np.asarray(np.log(drawn.mean(axis=1) / wide.mean()))


@lru_cache(maxsize=64)
def _indices(seed: int, resamples: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, count, (resamples, count))


def _around(value: float, log_deviations: np.ndarray, widening: float) -> Estimate:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(log_deviations, (tail, 1 - tail)) * widening
    return Estimate(
        value, value * float(np.exp(min(low, 0.0))), value * float(np.exp(max(high, 0.0)))
    )


def _welch(first: np.ndarray, second: np.ndarray) -> float:
    """Degrees of freedom of the difference of two means, after Welch."""
    parts = np.array([each.var(ddof=1) / each.size for each in (first, second)])
    freedoms = np.array([first.size - 1, second.size - 1])
    if parts.sum() == 0:
        return float(freedoms.sum())
    parts = parts / parts.sum()  # their squares must not underflow
    return float(1 / (parts**2 / freedoms).sum())


@lru_cache(maxsize=256)
def t_ratio(freedom: float) -> float:
    """The ratio of the quantile of Student's t to that of the normal distribution."""
    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)) / _Z
