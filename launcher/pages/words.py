"""Numbers, times and shares as every report writes them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from launcher.pages.page import DataTable
from launcher.text.durations import duration

NONE = "–"
"""A cell for a figure that does not exist or is unknown."""


def date(moment: float | None) -> str:
    """Local date and time with the zone; NONE where there is none."""
    if moment is None:
        return NONE
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(moment))
    except (ValueError, OverflowError, OSError):
        return NONE


def seconds(value: float | None) -> str:
    """Seconds as `4.8`; NONE where unknown."""
    return NONE if value is None else f"{value:.1f}"


def milliseconds(value: float) -> str:
    """Seconds in milliseconds, as `912` or `5.47`."""
    return f"{1000 * value:.0f}" if value >= 0.1 else f"{1000 * value:.3g}"


def took(value: float) -> str:
    """A duration, as `4.8 s`, `5 min 19 s` or `2 h 5 min`."""
    if value < 60:
        return f"{value:.1f} s"
    if value < 3600:
        return f"{int(value // 60)} min {int(value % 60)} s"
    return duration(value)


def table_of(rows: Sequence[tuple[str, str]]) -> DataTable:
    """A table with a name and a value on each row."""
    return DataTable(("item", "value"), rows)


def rounded(value: float | None, digits: int = 3) -> str:
    """A number with this many significant digits, without a power of ten where possible."""
    if value is None or not math.isfinite(value):
        return NONE
    places = places_of(value, digits)
    if places > 6 + digits or places < -9:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    return to_places(value, places)


def places_of(value: float, digits: int) -> int:
    """Decimal places that show this many significant digits of a value; may be negative."""
    return digits - 1 - math.floor(math.log10(abs(value))) if value else 0


def to_places(value: float, places: int) -> str:
    """A number rounded to decimal places, with a typographic minus."""
    return f"{round(value, places):.{max(places, 0)}f}".replace("-", "−")


def percent(value: float | None) -> str:
    """`83 %` for 0.83; one decimal below 10 %."""
    if value is None or not math.isfinite(value):
        return NONE
    decimals = 1 if 0 < abs(value) < 0.1 else 0
    return f"{100 * value:.{decimals}f} %".replace("-", "−")


def amount(size: int | None) -> str:
    """A number of bytes, in powers of 1024."""
    if size is None:
        return NONE
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{rounded(value)} {unit}"
