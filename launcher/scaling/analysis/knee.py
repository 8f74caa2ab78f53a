"""The knee: where more ranks stop being worth it.

Going up from one measured size to the next, ranks grow by q and throughput by g; a doubling of the
ranks there multiplies throughput by g^(1/log2 q). Its marginal efficiency is that less one: 1 if
throughput doubles, 0 if nothing comes of it. The knee is the size before the first step whose
marginal efficiency is below LEAST.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from launcher.scaling.analysis.intervals import ratio_interval
from launcher.scaling.analysis.results import Estimate

LEAST = 0.5


@dataclass(frozen=True)
class Knee:
    """Where it is."""

    ranks: int | None
    """None: there is none up to the largest measured size."""
    why: str


def knee(throughputs: Mapping[int, Sequence[float]], *, seed: int, resamples: int) -> Knee:
    """The knee of a series (ranks → positive samples/s of the repeats)."""
    ranks = sorted(throughputs)
    if len(ranks) < 2:
        return Knee(None, "One size was measured: nothing can be said of the next.")
    for few, many in pairwise(ranks):
        gain = ratio_interval(throughputs[many], throughputs[few], seed=seed, resamples=resamples)
        marginal = marginal_efficiency(gain, few, many)
        if marginal.value < LEAST:
            sure = marginal.high < LEAST
            return Knee(few, _why(few, many, marginal, sure=sure))
    return Knee(
        None,
        f"None up to {ranks[-1]} ranks: from {ranks[-2]} to {ranks[-1]} ranks a doubling still "
        f"brings {_percent(marginal)} of what it could; below {LEAST:.0%} it would be a knee."
        + _unsure(marginal.low < LEAST),
    )


def marginal_efficiency(gain: Estimate, few: int, many: int) -> Estimate:
    """Of one doubling, from the ratio of throughput between two sizes."""
    doublings = math.log2(many / few)
    return Estimate(*(each ** (1 / doublings) - 1 for each in (gain.value, gain.low, gain.high)))


def _why(few: int, many: int, marginal: Estimate, *, sure: bool) -> str:
    if marginal.value < 0:
        text = f"From {few} to {many} ranks throughput falls, by {_percent(marginal)} a doubling."
    else:
        text = (
            f"From {few} to {many} ranks a doubling brings {_percent(marginal)} of what it could; "
            f"{LEAST:.0%} is asked for."
        )
    return text + _unsure(not sure)


def _unsure(unsure: bool) -> str:
    return " The interval includes both answers: more repeats would decide." if unsure else ""


def _percent(marginal: Estimate) -> str:
    if marginal.low == marginal.high:
        return f"{marginal.value:.0%}"
    return f"{marginal.value:.0%} (95 %: {marginal.low:.0%} to {marginal.high:.0%})"
