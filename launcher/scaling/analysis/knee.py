"""The knee of a series: the size from which more ranks gain too little.

From one measured size to the next, ranks grow by a factor q and throughput by a factor g, so a
doubling of the ranks multiplies the throughput by g^(1/log2 q). The marginal efficiency is this
factor minus one: 1 if the throughput doubles, 0 if it stays the same. The knee is the size before
the first step whose marginal efficiency is below LEAST.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from launcher.pages.words import percent
from launcher.scaling.analysis.intervals import ratio_interval
from launcher.scaling.analysis.results import Estimate

LEAST = 0.5
"""Marginal efficiency below which a step is not worth its ranks."""


@dataclass(frozen=True)
class Knee:
    """The knee of a series, and why it is there."""

    ranks: int | None
    """The size in ranks; None: there is no knee up to the largest measured size."""
    why: str


def knee(throughputs: Mapping[int, Sequence[float]], *, seed: int, resamples: int) -> Knee:
    """The knee of a series (ranks → positive samples/s of the repeats)."""
    ranks = sorted(throughputs)
    if len(ranks) < 2:
        return Knee(None, "Only one size was measured, so there is no step to a larger one.")
    for few, many in pairwise(ranks):
        gain = ratio_interval(throughputs[many], throughputs[few], seed=seed, resamples=resamples)
        marginal = marginal_efficiency(gain, few, many)
        if marginal.value < LEAST:
            sure = marginal.high < LEAST
            return Knee(few, _why(few, many, marginal, sure=sure))
    return Knee(
        None,
        f"There is no knee up to {ranks[-1]} ranks: from {ranks[-2]} to {ranks[-1]} ranks, a "
        f"doubling still gains {_percent(marginal)} of the ideal; at a knee it would be less than "
        f"{percent(LEAST)}." + _unsure(marginal.low < LEAST),
    )


def marginal_efficiency(gain: Estimate, few: int, many: int) -> Estimate:
    """The marginal efficiency of a doubling, from the ratio of two sizes' throughputs."""
    doublings = math.log2(many / few)
    return Estimate(*(each ** (1 / doublings) - 1 for each in (gain.value, gain.low, gain.high)))


def _why(few: int, many: int, marginal: Estimate, *, sure: bool) -> str:
    if marginal.value < 0:
        text = f"From {few} to {many} ranks, throughput falls: {_percent(marginal)} per doubling."
    else:
        text = (
            f"From {few} to {many} ranks, a doubling gains only {_percent(marginal)} of the ideal; "
            f"the threshold is {percent(LEAST)}."
        )
    return text + _unsure(not sure)


def _unsure(unsure: bool) -> str:
    return " The interval includes both answers; more repeats would decide." if unsure else ""


def _percent(marginal: Estimate) -> str:
    if marginal.low == marginal.high:
        return percent(marginal.value)
    interval = f"{percent(marginal.low)} to {percent(marginal.high)}"
    return f"{percent(marginal.value)} (95 % interval: {interval})"
