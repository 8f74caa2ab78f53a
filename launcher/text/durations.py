"""Times and durations in the words of people."""

from __future__ import annotations

import time

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def duration(seconds: float) -> str:
    """`12 s`, `3 min`, `2 h 5 min`, `4 d 3 h`."""
    seconds = max(0.0, seconds)
    for place, (size, unit) in enumerate(_UNITS):
        whole = int(seconds // size)
        if whole:
            if unit == "min":
                return f"{whole} min"
            smaller, small_unit = _UNITS[place + 1]
            rest = int(seconds % size // smaller)
            return f"{whole} {unit} {rest} {small_unit}" if rest else f"{whole} {unit}"
    return f"{seconds:.0f} s"


def clock(moment: float | None) -> str:
    """Local time, with the date unless it is today; `-` if there is no time."""
    if moment is None:
        return "-"
    try:
        then, now = time.localtime(moment), time.localtime()
        same_day = then[:3] == now[:3]
        return time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M:%S", then)
    except (ValueError, OverflowError, OSError):
        return "-"
