"""Estimates, names and sentences as the report of a study writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from launcher.pages.words import NONE, places_of, rounded, to_places
from launcher.scaling.analysis.results import Estimate, Series, Size
from launcher.scaling.study.definition import Mode
from launcher.text.counted import counted

OVERSUBSCRIBED = "more threads than cores"


def estimate(found: Estimate, scale: float = 1.0) -> str:
    """`12.3 (11.9 to 12.8)`: a figure with its 95 % interval, all rounded to the same place.

    An interval without width is not shown: there was one repeat, or the figure is 1 by definition.
    """
    all_three = [each * scale for each in (found.value, found.low, found.high)]
    if not all(map(math.isfinite, all_three)) or found.low == found.high:
        return rounded(all_three[0])
    largest = max(map(abs, all_three))
    places = places_of(largest, 3)
    if places > 9 or places < -9:
        value, low, high = map(rounded, all_three)
    else:
        value, low, high = (to_places(each, places) for each in all_three)
    return f"{value} ({low} to {high})"


def exact(value: object) -> str:
    """A number of a config in its shortest form."""
    return f"{value:g}" if isinstance(value, (int, float)) else NONE


def series_name(series: Series) -> str:
    """`strong scaling, 2 tasks per node`."""
    return f"{series.mode} scaling, {counted(series.tasks_per_node, 'task')} per node"


def by_mode(measured: Sequence[Series]) -> dict[Mode, list[Size]]:
    """Mode → the sizes of all its series, by ranks and then by nodes."""
    found: dict[Mode, list[Size]] = {}
    for series in measured:
        found.setdefault(series.mode, []).extend(series.sizes)
    return {
        mode: sorted(sizes, key=lambda size: (size.ranks, size.nodes))
        for mode, sizes in found.items()
    }


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
