"""Numbers and lists in words."""

from __future__ import annotations

from collections.abc import Collection

_SHOWN = 6


def counted(number: int, what: str) -> str:
    """`1 node`, `2 nodes`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def listed(names: Collection[str], last: str = "and", most: int = _SHOWN) -> str:
    """`a, b and c`; only the first `most` of them, and how many more there are."""
    shown = list(names)
    if len(shown) > most:
        return f"{', '.join(shown[:most])} {last} {len(shown) - most} more"
    if len(shown) < 2:
        return "".join(shown) or "none"
    return f"{', '.join(shown[:-1])} {last} {shown[-1]}"
