"""Fits of scaling laws to measured throughputs, with profile-likelihood intervals.

The noise of a throughput is proportional to it, so the fit minimises the squares of the relative
residuals. In its linear coefficients (laws.py) a law is a cone. Since the parameters lie between 0
and 1, the edges of this cone are known, and the best fit is a non-negative least-squares problem:
it is convex, has one minimum and needs no initial guess.

The interval of a parameter holds all values for which the sum of squares, with the other parameters
fitted again, stays below S + s²·F(0.95; 1, ν) (Bates & Watts, Nonlinear Regression Analysis (1988),
section 6.1). It needs no derivative and need not be symmetric. It ends at the bounds, so it
includes 0 if the true value is 0.

s² is the variance of the residuals of all runs, unless the law misses the means of the sizes by
more than the repeats explain (lack-of-fit F test at 5 %; Draper & Smith, Applied Regression
Analysis, section 2.1). In that case s² is the variance of the lack of fit alone, with its few
degrees of freedom, which makes the intervals of a law that does not hold wide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product

import numpy as np
from scipy import stats
from scipy.optimize import brentq, lsq_linear, nnls

from launcher.scaling.analysis.intervals import CONFIDENCE
from launcher.scaling.analysis.laws import ScalingLaw
from launcher.scaling.analysis.results import Estimate

LACK_OF_FIT = 0.05
_LEAST_VARIANCE = 1e-16
"""Least variance of relative residuals; repeats that agree to the last bit leave only rounding."""
_PRECISION = 1e-6
_UNKNOWN = 10.0
"""The interval of X1 reaches at most to this multiple of X1 and to its inverse; for a law that does
not describe the sizes at all, the limit is never reached."""


@dataclass(frozen=True)
class Fit:
    """A law with its fitted parameters."""

    law: ScalingLaw
    x1: Estimate
    parameters: tuple[Estimate, ...]
    """In the order of `law.parameters`."""
    lack_of_fit: float | None
    """p-value: how often repeats with this spread would miss a law that holds by at least this
    much; None: there are no repeats."""

    @property
    def misses(self) -> bool:
        """Whether the law is farther from the sizes than the repeats explain."""
        return self.lack_of_fit is not None and self.lack_of_fit < LACK_OF_FIT

    def throughput(self, ranks: Sequence[float]) -> np.ndarray:
        """Samples/s of the law, of shape (sizes,)."""
        values = [each.value for each in self.parameters]
        return self.law.throughput(np.array(ranks, float), self.x1.value, values)


def fit(law: ScalingLaw, throughputs: Mapping[int, Sequence[float]]) -> Fit:
    """Fit a law, with an interval for each parameter.

    Args:
        law: the law.
        throughputs: ranks → positive samples/s of the repeats; at least `law.least_sizes` sizes.

    Raises:
        ValueError: there are too few sizes.
    """
    if len(throughputs) < law.least_sizes:
        found = len(throughputs)
        raise ValueError(f"{law.name} needs {law.least_sizes} different sizes, found {found}")
    problem = _Problem.of(law, throughputs)
    scale, parameters, missed = problem.best()
    squares = missed + problem.within
    free = 1 + len(parameters)
    between, repeats = problem.sizes - free, problem.runs - problem.sizes
    variance, freedom = squares / (problem.runs - free), problem.runs - free
    lack_of_fit = None
    if repeats > 0:
        pure = max(problem.within / repeats, _LEAST_VARIANCE)
        lack_of_fit = float(stats.f.sf(missed / between / pure, between, repeats))
        if lack_of_fit < LACK_OF_FIT:
            variance, freedom = missed / between, between
    limit = missed + max(variance, _LEAST_VARIANCE) * _f_quantile(freedom)
    intervals = tuple(
        _interval(partial(problem.with_parameter, which), value, limit)
        for which, value in enumerate(parameters)
    )
    ends = _ends_of_scale(problem.with_scale, scale, limit)
    x1 = Estimate(scale, *ends)
    if law.in_time:
        x1 = Estimate(1 / scale, 1 / ends[1], 1 / ends[0])
    return Fit(law, x1, intervals, lack_of_fit)


def best_fit(
    law: ScalingLaw, throughputs: Mapping[int, Sequence[float]]
) -> Callable[[Sequence[float]], np.ndarray]:
    """The best fit as a function from ranks to samples/s, without intervals."""
    scale, parameters, _ = _Problem.of(law, throughputs).best()
    x1 = 1 / scale if law.in_time else scale
    return lambda ranks: law.throughput(np.array(ranks, float), x1, parameters)


@dataclass(frozen=True)
class _Problem:
    """Relative least squares: |weighted·(c, c·parameters…) − target|², c = X1 or 1/X1."""

    weighted: np.ndarray
    """Features over the measured value, times √repeats; shape (sizes, 1 + parameters)."""
    target: np.ndarray
    """√repeats of each size; shape (sizes,)."""
    within: float
    """Sum of squares of the repeats around the mean of their size, on the logarithms."""
    sizes: int
    runs: int
    unit: float
    """The unit of c, chosen so that the numbers are near 1."""

    @classmethod
    def of(cls, law: ScalingLaw, throughputs: Mapping[int, Sequence[float]]) -> _Problem:
        ranks = sorted(throughputs)
        logs = [np.log(np.sort(np.asarray(throughputs[each], float))) for each in ranks]
        means = np.array([each.mean() for each in logs])
        within = float(sum(((each - each.mean()) ** 2).sum() for each in logs))
        counts = np.array([each.size for each in logs])
        measured = np.exp(-means if law.in_time else means)
        unit = float(measured[0] * (ranks[0] if law.in_time else 1 / ranks[0]))
        root = np.sqrt(counts)
        weighted = law.features(np.array(ranks)) / (measured / unit)[:, None] * root[:, None]
        return cls(weighted, root, within, len(ranks), int(counts.sum()), unit)

    def best(self) -> tuple[float, tuple[float, ...], float]:
        """c, the parameters, and the least sum of squares over the means of the sizes."""
        corners = _corners(self.weighted.shape[1] - 1)
        weights, distance = nnls(self.weighted @ _edges(corners), self.target)
        scale = float(weights.sum())
        parameters = tuple(min(1.0, float(each)) for each in corners.T @ weights / scale)
        return scale * self.unit, parameters, float(distance**2)

    def with_parameter(self, which: int, value: float) -> float:
        """The least sum of squares with one parameter fixed at a value."""
        corners = _corners(self.weighted.shape[1] - 1)
        corners = corners[corners[:, which] == 0].copy()
        corners[:, which] = value
        return float(nnls(self.weighted @ _edges(corners), self.target)[1] ** 2)

    def with_scale(self, scale: float) -> float:
        """The least sum of squares with c fixed."""
        known = self.weighted * (scale / self.unit)
        left, columns = self.target - known[:, 0], known[:, 1:]
        if columns.shape[1] == 1:
            one = columns[:, 0]
            found = np.array([min(1.0, max(0.0, float(one @ left / (one @ one))))])
        else:
            found = lsq_linear(columns, left, (0, 1), method="bvls").x
        return float(((columns @ found - left) ** 2).sum())


@lru_cache(maxsize=8)
def _corners(parameters: int) -> np.ndarray:
    """All combinations of 0 and 1; shape (2^parameters, parameters)."""
    return np.array(list(product((0.0, 1.0), repeat=parameters)))


def _edges(corners: np.ndarray) -> np.ndarray:
    """The edges of the cone, (1, parameters…) at each corner; shape (1 + parameters, corners)."""
    return np.vstack([np.ones(len(corners)), corners.T])


@lru_cache(maxsize=256)
def _f_quantile(freedom: int) -> float:
    return float(stats.f.ppf(CONFIDENCE, 1, freedom))


def _interval(squares: Callable[[float], float], value: float, limit: float) -> Estimate:
    """The values of a parameter between 0 and 1 whose sum of squares is below the limit."""
    return Estimate(
        value,
        _crossing(squares, 0.0, value, limit),
        _crossing(squares, 1.0, value, limit),
    )


def _ends_of_scale(
    squares: Callable[[float], float], scale: float, limit: float
) -> tuple[float, float]:
    """The interval of c, which has no natural bounds and is cut at _UNKNOWN."""
    low, high = scale / _UNKNOWN, scale * _UNKNOWN
    return _crossing(squares, low, scale, limit), _crossing(squares, high, scale, limit)


def _crossing(squares: Callable[[float], float], end: float, inside: float, limit: float) -> float:
    """Where the sum of squares reaches the limit between `inside` and `end`; `end` if nowhere."""
    if squares(end) <= limit:
        return end
    if squares(inside) >= limit:  # within rounding, the interval is a single point
        return inside
    return float(brentq(lambda v: squares(v) - limit, end, inside, xtol=1e-12, rtol=_PRECISION))
