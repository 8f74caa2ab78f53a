"""The scaling laws: throughput X of p ranks, from the throughput X1 of one rank.

Amdahl (AFIPS Spring Joint Computer Conference 30, 483 (1967)): the work stays the same, and a
fraction s of the time on one rank does not shrink,

    X(p) = X1 / (s + (1 − s)/p)

Gustafson (Comm. ACM 31, 532 (1988)): the work grows with the ranks, and s is the serial fraction of
the time on p ranks,

    X(p) = X1·(p − s·(p − 1))

Universal Scalability Law (Gunther, arXiv:0808.1431, eq. 3): σ is the contention, κ the coherency,
the cost of each pair of ranks. With κ = 0 it is Amdahl's law:

    X(p) = X1·p / (1 + σ·(p − 1) + κ·p·(p − 1))

All three are linear in X1 and its products with the parameters, in samples/s (Gustafson) or in
seconds per sample (the others). fitting.py makes use of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from launcher.scaling.analysis.results import Law
from launcher.scaling.study.definition import Mode

FARTHEST = 2.0
"""No law is evaluated beyond this multiple of the largest measured size."""
_POINTS_OF_CURVE = 97


@dataclass(frozen=True)
class ScalingLaw:
    """A scaling law, without values for its parameters."""

    name: Literal["Amdahl", "Gustafson", "USL"]
    formula: str
    source: str
    parameters: tuple[str, ...]
    """Names of the parameters other than X1; each lies between 0 and 1."""
    in_time: bool
    """Whether the law is linear in seconds per sample; else it is in samples per second."""
    least_sizes: int
    """Number of different sizes that a fit needs."""

    def features(self, ranks: np.ndarray) -> np.ndarray:
        """The features F, of shape (sizes, 1 + parameters).

        The quantity in which the law is linear is c·F·(1, parameters…), with c = X1 or 1/X1.
        """
        p = np.asarray(ranks, float)
        if self.name == "Gustafson":
            columns = [p, 1 - p]
        elif self.name == "Amdahl":
            columns = [1 / p, 1 - 1 / p]
        else:
            columns = [1 / p, 1 - 1 / p, p - 1]
        return np.stack(columns, axis=-1)

    def throughput(self, ranks: np.ndarray, x1: float, parameters: Sequence[float]) -> np.ndarray:
        """Samples/s at these sizes; shape (sizes,)."""
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
    """The law that describes a mode: Amdahl's for strong, Gustafson's for weak scaling."""
    return AMDAHL if mode == "strong" else GUSTAFSON


def laws_for(mode: Mode, sizes: int) -> tuple[ScalingLaw, ...]:
    """The laws that can be fitted to this number of different sizes; the simplest first."""
    return tuple(law for law in (own_law(mode), USL) if sizes >= law.least_sizes)


def throughput_by(law: Law, ranks: float) -> float:
    """Samples/s that a fitted law predicts.

    Raises:
        ValueError: the size lies outside the range of the law's curve, which reaches from the
            smallest measured size to twice the largest.
    """
    first, last = law.curve[0][0], law.curve[-1][0]
    if not first <= ranks <= last:
        raise ValueError(
            f"{law.name} makes no statement about {ranks:g} ranks: its range is {first:g} (the "
            f"smallest measured size) to {last:g} (twice the largest)"
        )
    shape = _LAWS[law.name]
    parameters = [law.parameters[name].value for name in shape.parameters]
    return float(shape.throughput(np.array([ranks]), law.parameters["X1"].value, parameters)[0])


def curve(
    law: ScalingLaw, x1: float, parameters: Sequence[float], smallest: int, largest: int
) -> tuple[tuple[float, float], ...]:
    """Pairs of ranks and samples/s, at equal distances on a logarithmic axis.

    The curve reaches from the smallest measured size to twice the largest.
    """
    ranks = np.geomspace(smallest, FARTHEST * largest, _POINTS_OF_CURVE)
    ranks[0], ranks[-1] = smallest, FARTHEST * largest
    values = law.throughput(ranks, x1, parameters)
    return tuple((float(p), float(value)) for p, value in zip(ranks, values, strict=True))
