"""Numbers and lists in the words of a finding."""

from __future__ import annotations

from collections.abc import Collection

_SHOWN = 6


def count(number: int, what: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def listed(names: Collection[str], last: str = "and") -> str:
    """`a, b and c`; of many the first few."""
    shown = list(names)
    if len(shown) > _SHOWN:
        return f"{', '.join(shown[:_SHOWN])} {last} {len(shown) - _SHOWN} more"
    if len(shown) < 2:
        return "".join(shown) or "none"
    return f"{', '.join(shown[:-1])} {last} {shown[-1]}"
