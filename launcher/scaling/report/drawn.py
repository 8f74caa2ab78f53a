"""A figure of a report before it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

LEGEND: dict[str, Any] = {
    "loc": "outside lower center",
    "frameon": False,
    "fontsize": 9,
    "columnspacing": 1.4,
    "handlelength": 1.8,
}
"""Arguments that place a legend below the axes, where it covers no data."""


@dataclass(frozen=True)
class Drawn:
    """A figure with its caption and its text alternative."""

    name: str
    """Name of its files, without suffix."""
    figure: Figure
    caption: str
    alternative: str


def drawable(value: float) -> float:
    """The value, or 0 where it is not finite."""
    return value if -float("inf") < value < float("inf") else 0.0
