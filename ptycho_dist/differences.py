"""Compare the values of all ranks and group the ranks by value. Torch-free."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.table import Table

Groups = list[tuple[list[int], str | None]]
"""The ranks that share a value, and the value (None if the key is absent); smallest group first."""


def differing(of_ranks: Sequence[Mapping[str, str]]) -> dict[str, Groups]:
    """Find the keys in which ranks differ.

    Args:
        of_ranks: One mapping of keys to values per rank, in rank order.

    Returns:
        The differing keys, sorted, each with its groups of ranks.
    """
    found: dict[str, Groups] = {}
    for key in sorted({key for values in of_ranks for key in values}):
        holders: dict[str | None, list[int]] = {}
        for rank, values in enumerate(of_ranks):
            holders.setdefault(values.get(key), []).append(rank)
        if len(holders) > 1:
            groups = [(ranks, value) for value, ranks in holders.items()]
            found[key] = sorted(groups, key=lambda group: len(group[0]))
    return found


def in_words(
    key: str,
    groups: Groups,
    shown: Callable[[str | None], str],
    node_of: Callable[[int], str] | None = None,
) -> str:
    """Write one difference as a sentence: `N: rank 1 has 64, ranks 0, 2 have 128`.

    Args:
        key: A key that `differing` returned.
        groups: Its groups of ranks.
        shown: Formats a value for a message.
        node_of: Names the node of a rank that is the only one with its value.
    """
    parts = []
    for ranks, value in groups:
        where = f" on {node_of(ranks[0])}" if node_of is not None and len(ranks) == 1 else ""
        has = "rank {} has" if len(ranks) == 1 else "ranks {} have"
        parts.append(f"{has.format(numbers(ranks) + where)} {shown(value)}")
    return f"{key}: {', '.join(parts)}"


def numbers(ranks: Sequence[int]) -> str:
    """Format ascending ranks as `0, 2, 5-999`; four or more in a row become a range."""
    parts: list[str] = []
    start = 0
    for place in range(1, len(ranks) + 1):
        if place < len(ranks) and ranks[place] == ranks[place - 1] + 1:
            continue
        row = ranks[start:place]
        parts += map(str, row) if len(row) < 4 else [f"{row[0]}-{row[-1]}"]
        start = place
    return ", ".join(parts)


def as_table(
    found: Mapping[str, Groups], shown: Callable[[str | None], str], node_of: Callable[[int], str]
) -> str:
    """Format the result of `differing` as a plain-text table: key, value, ranks and nodes."""
    table = Table(box=None, pad_edge=False)
    for heading in ("what", "value", "ranks", "nodes"):
        table.add_column(heading, overflow="fold")
    for key, groups in found.items():
        for number, (ranks, value) in enumerate(groups):
            nodes = ", ".join(dict.fromkeys(node_of(rank) for rank in ranks))
            name = "" if number else key
            table.add_row(name, shown(value), numbers(ranks), nodes)
    text = io.StringIO()
    Console(file=text, width=110, color_system=None, markup=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
