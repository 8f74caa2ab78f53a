"""The scaling laws: throughput X of p ranks, beside X1 of one.

Amdahl (AFIPS Spring Joint Computer Conference 30, 483 (1967)), the work stays the same, a part s
of one rank's time does not shrink:

    X(p) = X1 / (s + (1 − s)/p)

Gustafson (Comm. ACM 31, 532 (1988)), the work grows with the ranks, s is the serial part of the
time on p ranks:

    X(p) = X1·(p − s·(p − 1))

Universal Scalability Law (Gunther, arXiv:0808.1431, eq. 3), σ: contention, κ: coherency, the price
of each pair of ranks. With κ = 0 it is Amdahl's:

    X(p) = X1·p / (1 + σ·(p − 1) + κ·p·(p − 1))

All three are linear in X1 and its products with the parameters, as samples/s (Gustafson) or as
seconds per sample (the others), which fitting.py makes use of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from launcher.scaling.analysis.results import Law
from launcher.scaling.study.definition import Mode

FARTHEST = 2.0
"""No law says anything beyond this multiple of the largest measured size."""
_POINTS_OF_CURVE = 97


@dataclass(frozen=True)
class ScalingLaw:
    """A law, not yet fitted."""

    name: Literal["Amdahl", "Gustafson", "USL"]
    formula: str
    source: str
    parameters: tuple[str, ...]
    """Beside X1; each from 0 to 1."""
    in_time: bool
    """Whether it is linear in the seconds per sample; else in the samples per second."""
    least_sizes: int
    """Different ones that a fit needs."""

    def features(self, ranks: np.ndarray) -> np.ndarray:
        """(sizes, 1 + parameters) F, so that the linear quantity is c·F·(1, parameters…), with
        c = X1 or 1/X1."""
        p = np.asarray(ranks, float)
        if self.name == "Gustafson":
            columns = [p, 1 - p]
        elif self.name == "Amdahl":
            columns = [1 / p, 1 - 1 / p]
        else:
            columns = [1 / p, 1 - 1 / p, p - 1]
        return np.stack(columns, axis=-1)

    def throughput(self, ranks: np.ndarray, x1: float, parameters: Sequence[float]) -> np.ndarray:
        """(sizes,) Samples/s."""
        linear = self.features(ranks) @ np.array([1.0, *parameters])
        return np.asarray(x1 / linear if self.in_time else x1 * linear)


AMDAHL = ScalingLaw(
    "Amdahl",
    "X(p) = X1 / (s + (1 − s)/p)",
    "G. M. Amdahl, AFIPS Spring Joint Computer Conference 30, 483 (1967)",
    ("serial",),
    in_time=True,
    least_sizes=3,
)
GUSTAFSON = ScalingLaw(
    "Gustafson",
    "X(p) = X1·(p − s·(p − 1))",
    "J. L. Gustafson, Communications of the ACM 31, 532 (1988)",
    ("serial",),
    in_time=False,
    least_sizes=3,
)
USL = ScalingLaw(
    "USL",
    "X(p) = X1·p / (1 + σ·(p − 1) + κ·p·(p − 1))",
    "N. J. Gunther, A General Theory of Computational Scalability Based on Rational Functions, "
    "arXiv:0808.1431 (2008)",
    ("contention", "coherency"),
    in_time=True,
    least_sizes=5,
)
_LAWS: dict[str, ScalingLaw] = {law.name: law for law in (AMDAHL, GUSTAFSON, USL)}


def own_law(mode: Mode) -> ScalingLaw:
    """The law that was written for a mode."""
    return AMDAHL if mode == "strong" else GUSTAFSON


def laws_for(mode: Mode, sizes: int) -> tuple[ScalingLaw, ...]:
    """Those that may be fitted to so many different sizes; the simplest first."""
    return tuple(law for law in (own_law(mode), USL) if sizes >= law.least_sizes)


def throughput_by(law: Law, ranks: float) -> float:
    """Samples/s by a fitted law.

    Raises:
        ValueError: the size is outside of what the law's curve covers: from the smallest measured
            size to twice the largest.
    """
    first, last = law.curve[0][0], law.curve[-1][0]
    if not first <= ranks <= last:
        raise ValueError(
            f"{law.name} says nothing of {ranks:g} ranks: it holds from {first:g} (the smallest "
            f"measured size) to {last:g} (twice the largest)"
        )
    shape = _LAWS[law.name]
    parameters = [law.parameters[name].value for name in shape.parameters]
    return float(shape.throughput(np.array([ranks]), law.parameters["X1"].value, parameters)[0])


def curve(
    law: ScalingLaw, x1: float, parameters: Sequence[float], smallest: int, largest: int
) -> tuple[tuple[float, float], ...]:
    """(ranks, samples/s) from the smallest measured size to twice the largest, evenly in the
    logarithm."""
    ranks = np.geomspace(smallest, FARTHEST * largest, _POINTS_OF_CURVE)
    ranks[0], ranks[-1] = smallest, FARTHEST * largest
    values = law.throughput(ranks, x1, parameters)
    return tuple((float(p), float(value)) for p, value in zip(ranks, values, strict=True))
