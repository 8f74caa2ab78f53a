"""Figures and names as the report of a study writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from launcher.scaling.analysis.results import Estimate, Series, Size
from launcher.scaling.study.definition import Mode

NONE = "–"
OVERSUBSCRIBED = "more threads than cores"


def number(value: float | None, digits: int = 3) -> str:
    """With so many figures that count, and no power of ten where it can be helped."""
    if value is None or not math.isfinite(value):
        return NONE
    places = _places(value, digits)
    if places > 6 + digits or places < -9:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    return _rounded(value, places)


def estimate(found: Estimate, scale: float = 1.0) -> str:
    """`12.3 (11.9 to 12.8)`: a figure with its 95 % interval, all rounded to the same place.

    An interval of no width is none: there was one repeat, or the figure is one by definition.
    """
    all_three = [each * scale for each in (found.value, found.low, found.high)]
    if not all(map(math.isfinite, all_three)) or found.low == found.high:
        return number(all_three[0])
    largest = max(map(abs, all_three))
    places = _places(largest, 3)
    if places > 9 or places < -9:
        value, low, high = map(number, all_three)
    else:
        value, low, high = (_rounded(each, places) for each in all_three)
    return f"{value} ({low} to {high})"


def _places(value: float, digits: int) -> int:
    return digits - 1 - math.floor(math.log10(abs(value))) if value else 0


def _rounded(value: float, places: int) -> str:
    return f"{round(value, places):.{max(places, 0)}f}".replace("-", "−")


def exact(value: object) -> str:
    """A number of a config as it stands there."""
    return f"{value:g}" if isinstance(value, (int, float)) else NONE


def percent(value: float | None) -> str:
    """`83 %`, of a part."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{100 * value:.0f} %".replace("-", "−")


def amount(size: int | None) -> str:
    """Bytes as people say them, in powers of 1024."""
    if size is None:
        return NONE
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{number(value)} {unit}"


def several(count: int, thing: str) -> str:
    """`1 node`, `4 nodes`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def size_name(size: Size) -> str:
    """`4 ranks on 2 nodes`."""
    return f"{several(size.ranks, 'rank')} on {several(size.nodes, 'node')}"


def series_name(series: Series) -> str:
    """`strong scaling, 2 tasks per node`."""
    return f"{series.mode} scaling, {several(series.tasks_per_node, 'task')} per node"


def by_mode(measured: Sequence[Series]) -> dict[Mode, list[Size]]:
    """All sizes of each mode, of all its series: by ranks, then by nodes."""
    found: dict[Mode, list[Size]] = {}
    for series in measured:
        found.setdefault(series.mode, []).extend(series.sizes)
    return {
        mode: sorted(sizes, key=lambda size: (size.ranks, size.nodes))
        for mode, sizes in found.items()
    }


def sentence(text: str, *, capital: bool = True) -> str:
    """The same with a full stop, and with a capital where it begins one."""
    text = text.strip()
    if not text:
        return ""
    first = text[0].upper() if capital else text[0]
    return first + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
