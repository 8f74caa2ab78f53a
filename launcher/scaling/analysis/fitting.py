"""The parameters of a scaling law from measured throughputs, with profile-likelihood intervals.

The noise of a throughput is a part of it, so relative residuals are squared. A law is a cone in
its linear coefficients (laws.py), with parameters from 0 to 1 its edges are known, so the best fit
is a non-negative least-squares problem: convex, one minimum, no first guess.

The interval of a parameter is all its values for which the sum of squares, the other parameters
fitted anew, stays below S + s²·F(0.95; 1, ν) (Bates & Watts, Nonlinear Regression Analysis (1988),
section 6.1). It needs no derivative, is not symmetric where the law is not, and at a bound it ends
there: if the truth is 0, 0 is inside.

s² is that of the residuals of all runs, unless the law misses the means of the sizes by more than
the repeats explain (lack-of-fit F test at 5 %; Draper & Smith, Applied Regression Analysis,
section 2.1). Then it is that of these misses alone, with their few degrees of freedom: the
intervals are as wide as a law that does not hold deserves.
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
"""Of relative residuals: where repeats agree to the last bit, rounding is what is left."""
_PRECISION = 1e-6
_UNKNOWN = 10.0
"""The interval of X1 ends at this multiple of it and at its inverse: a law that misses the sizes
by as much as they are has no end of its own."""


@dataclass(frozen=True)
class Fit:
    """A law with its parameters."""

    law: ScalingLaw
    x1: Estimate
    parameters: tuple[Estimate, ...]
    """In the order of `law.parameters`."""
    lack_of_fit: float | None
    """p-value: how often repeats as these would miss a law that holds by so much; None: there are
    no repeats to say so."""

    @property
    def misses(self) -> bool:
        """Whether the law is farther from the sizes than the repeats explain."""
        return self.lack_of_fit is not None and self.lack_of_fit < LACK_OF_FIT

    def throughput(self, ranks: Sequence[float]) -> np.ndarray:
        """(sizes,) Samples/s."""
        values = [each.value for each in self.parameters]
        return self.law.throughput(np.array(ranks, float), self.x1.value, values)


def fit(law: ScalingLaw, throughputs: Mapping[int, Sequence[float]]) -> Fit:
    """Fits a law, with an interval for each parameter.

    Args:
        law: which.
        throughputs: ranks → positive samples/s of its repeats; `law.least_sizes` sizes or more.

    Raises:
        ValueError: there are fewer sizes.
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
    """Ranks → samples/s by the best fit, without intervals."""
    scale, parameters, _ = _Problem.of(law, throughputs).best()
    x1 = 1 / scale if law.in_time else scale
    return lambda ranks: law.throughput(np.array(ranks, float), x1, parameters)


@dataclass(frozen=True)
class _Problem:
    """Relative least squares: |weighted·(c, c·parameters…) − target|², c = X1 or 1/X1."""

    weighted: np.ndarray
    """(sizes, 1 + parameters) Features over the measured value, times √repeats."""
    target: np.ndarray
    """(sizes,) √repeats."""
    within: float
    """Sum of the squares of the repeats around the mean of their size, in the logarithm."""
    sizes: int
    runs: int
    unit: float
    """What c is measured in, so that numbers are near 1."""

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
        """c, the parameters, and the sum of squares of the means of the sizes."""
        corners = _corners(self.weighted.shape[1] - 1)
        weights, distance = nnls(self.weighted @ _edges(corners), self.target)
        scale = float(weights.sum())
        parameters = tuple(min(1.0, float(each)) for each in corners.T @ weights / scale)
        return scale * self.unit, parameters, float(distance**2)

    def with_parameter(self, which: int, value: float) -> float:
        """The least sum of squares with one parameter held."""
        corners = _corners(self.weighted.shape[1] - 1)
        corners = corners[corners[:, which] == 0].copy()
        corners[:, which] = value
        return float(nnls(self.weighted @ _edges(corners), self.target)[1] ** 2)

    def with_scale(self, scale: float) -> float:
        """The least sum of squares with X1 held."""
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
    """(2^parameters, parameters) All combinations of 0 and 1."""
    return np.array(list(product((0.0, 1.0), repeat=parameters)))


def _edges(corners: np.ndarray) -> np.ndarray:
    """(1 + parameters, corners) The edges of the cone: (1, parameters…) at each corner."""
    return np.vstack([np.ones(len(corners)), corners.T])


@lru_cache(maxsize=256)
def _f_quantile(freedom: int) -> float:
    return float(stats.f.ppf(CONFIDENCE, 1, freedom))


def _interval(squares: Callable[[float], float], value: float, limit: float) -> Estimate:
    """The values of a parameter, from 0 to 1, with squares below the limit."""
    return Estimate(
        value,
        _crossing(squares, 0.0, value, limit),
        _crossing(squares, 1.0, value, limit),
    )


def _ends_of_scale(
    squares: Callable[[float], float], scale: float, limit: float
) -> tuple[float, float]:
    """As `_interval`, for c, which has no bounds of its own: it is cut where nothing is known."""
    low, high = scale / _UNKNOWN, scale * _UNKNOWN
    return _crossing(squares, low, scale, limit), _crossing(squares, high, scale, limit)


def _crossing(squares: Callable[[float], float], end: float, inside: float, limit: float) -> float:
    """Where between `end` and `inside` the sum of squares reaches the limit; `end` if nowhere."""
    if squares(end) <= limit:
        return end
    if squares(inside) >= limit:  # to rounding: the interval is the point itself
        return inside
    return float(brentq(lambda v: squares(v) - limit, end, inside, xtol=1e-12, rtol=_PRECISION))
