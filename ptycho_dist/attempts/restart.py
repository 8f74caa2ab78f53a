"""Whether a run starts again by itself: a pure function of its policy and of how it has gone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ptycho_dist.config.resources import RequeueConfig

LONGEST_BACKOFF_S = 900
_FAILURES = frozenset({"crash", "node_fail"})


@dataclass(frozen=True)
class Decision:
    """What follows the end of an attempt."""

    restart: bool
    why: str
    """In one line, for people."""
    delay_s: int = 0
    """Wait before the next attempt."""
    exclude: tuple[str, ...] = ()
    """Nodes that it shall not get."""


def decide(policy: RequeueConfig, records: Sequence[dict[str, Any]]) -> Decision:
    """Judge after the last of `records` has ended (specs/resume.md, RS-030 to RS-036).

    Args:
        policy: the `requeue:` block.
        records: of all attempts, oldest first, each with its `cause` (`submit`, `resume`: by a
            person; `requeue`: by itself) and, where it has ended, `ending`.
    """
    row: Sequence[dict[str, Any]] = _since_a_person(records)
    ending = row[-1]["ending"]
    cause = ending["cause"]
    if cause in {"finished", "cancelled", "mistake"}:
        return Decision(False, ending["reason"])
    if cause not in policy.on:
        return Decision(False, f"requeue.on does not name {cause}")
    restarts = len(row) - 1
    if restarts >= policy.max_restarts:
        return Decision(False, f"requeue.max_restarts: {restarts} restarts are used up")
    before: Any = row[-2].get("ending") if len(row) > 1 else None
    again = before is not None and before["cause"] == cause
    if again and cause == "crash" and _alike(before, ending):
        return Decision(
            False, f"a crash loop: twice in a row at step {ending['step']}: {ending['reason']}"
        )
    if again and cause == "timeout" and before["committed_step"] == ending["committed_step"]:
        return Decision(
            False, "two walltimes in a row brought no new checkpoint; raise resources.time"
        )
    failures = 0
    for record in reversed(row):
        if record.get("ending") is None or record["ending"]["cause"] not in _FAILURES:
            break
        failures += 1
    delay_s = 0
    if failures:
        doubled = policy.backoff_s * 2 ** min(failures - 1, 30)
        delay_s = min(doubled, max(LONGEST_BACKOFF_S, policy.backoff_s))
    return Decision(
        True,
        f"restart {restarts + 1} of {policy.max_restarts} after {cause}: {ending['reason']}",
        delay_s,
        bad_nodes(records),
    )


def bad_nodes(records: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Nodes that were lost once, or where two attempts have crashed first."""
    lost: list[str] = []
    crashed: list[str] = []
    for record in records:
        ending = record.get("ending") or {}
        node = ending.get("node")
        if node and ending["cause"] == "node_fail":
            lost.append(node)
        elif node and ending["cause"] == "crash":
            crashed.append(node)
    often = [node for node in crashed if crashed.count(node) > 1]
    return tuple(sorted({*lost, *often}))


def _since_a_person(records: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    first = len(records) - 1
    while first > 0 and records[first]["cause"] == "requeue":
        first -= 1
    return records[first:]


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """The same error at the same step; numbers in it (ports, addresses, processes) may differ."""

    def shape(ending: dict[str, Any]) -> str:
        return re.sub(r"0x[0-9a-f]+|\d+", "#", ending["reason"])

    return one["step"] == other["step"] and shape(one) == shape(other)
