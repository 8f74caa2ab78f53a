"""Times, shares and tables as the report of a run says them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from launcher.pages.page import DataTable
from launcher.text.durations import duration


def date(moment: float | None) -> str:
    """Local time with the date and the zone; `-` where there is none."""
    if moment is None:
        return "-"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(moment))
    except (ValueError, OverflowError, OSError):
        return "-"


def share(part: float) -> str:
    """`84 %`"""
    return f"{100 * part:.0f} %" if part >= 0.1 or part == 0 else f"{100 * part:.1f} %"


def seconds(value: float | None) -> str:
    """`4.8`; `-` where nobody knows."""
    return "-" if value is None else f"{value:.1f}"


def milliseconds(value: float) -> str:
    """Of seconds; `912`, `5.47`."""
    return f"{1000 * value:.0f}" if value >= 0.1 else f"{1000 * value:.3g}"


def took(value: float) -> str:
    """`4.8 s`, `5 min 19 s`, `2 h 5 min`."""
    if value < 60:
        return f"{value:.1f} s"
    if value < 3600:
        return f"{int(value // 60)} min {int(value % 60)} s"
    return duration(value)


def table_of(rows: Sequence[tuple[str, str]], caption: str = "") -> DataTable:
    """What, and its value, a line each."""
    return DataTable(("what", "value"), rows, caption)
