"""Decides from policy and attempts whether a run starts again by itself. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ptycho_dist.attempts.record import AttemptRecord, Decision, Ending
from ptycho_dist.config.resources import RequeueConfig

LONGEST_BACKOFF_S = 900
"""Longest wait between two attempts, unless `requeue.backoff_s` itself is longer."""
_FAILURES = frozenset({"crash", "node_fail"})


def decide(policy: RequeueConfig, records: Sequence[AttemptRecord]) -> Decision:
    """Decide whether the run starts again (specs/resume.md, RS-030 to RS-036).

    Args:
        policy: the `requeue:` block of the config.
        records: all attempts, oldest first; the last one has ended.
    """
    endings = [_ending(record) for record in _since_a_person(records)]
    ending = endings[-1]
    if ending is None:
        raise ValueError(f"attempt {records[-1].number} has not ended")
    cause = ending.cause
    if cause in {"finished", "cancelled", "mistake"}:
        return Decision(False, ending.reason)
    if cause not in policy.on:
        return Decision(False, f"requeue.on does not name {cause}")
    restarts = len(endings) - 1
    if restarts >= policy.max_restarts:
        return Decision(False, f"requeue.max_restarts: {restarts} restarts are used up")
    before = endings[-2] if len(endings) > 1 else None
    if before is not None and before.cause == cause:
        if cause == "crash" and _alike(before, ending):
            return Decision(
                False, f"a crash loop: twice in a row at step {ending.step}: {ending.reason}"
            )
        if cause == "timeout" and before.committed_step == ending.committed_step:
            return Decision(
                False, "two walltimes in a row brought no new checkpoint; raise resources.time"
            )
    failures = 0
    for each in reversed(endings):
        if each is None or each.cause not in _FAILURES:
            break
        failures += 1
    delay_s = 0
    if failures:
        doubled = policy.backoff_s * 2 ** min(failures - 1, 30)
        delay_s = min(doubled, max(LONGEST_BACKOFF_S, policy.backoff_s))
    return Decision(
        True,
        f"restart {restarts + 1} of {policy.max_restarts} after {cause}: {ending.reason}",
        delay_s,
        bad_nodes(records),
    )


def bad_nodes(records: Sequence[AttemptRecord]) -> tuple[str, ...]:
    """Nodes that were lost once, or on which the first rank failed in two attempts."""
    lost: list[str] = []
    crashed: list[str] = []
    for record in records:
        ending = _ending(record)
        if ending is None or ending.node is None:
            continue
        if ending.cause == "node_fail":
            lost.append(ending.node)
        elif ending.cause == "crash":
            crashed.append(ending.node)
    often = [node for node in crashed if crashed.count(node) > 1]
    return tuple(sorted({*lost, *often}))


def _ending(record: AttemptRecord) -> Ending | None:
    return None if record.end is None else record.end.ending


def _since_a_person(records: Sequence[AttemptRecord]) -> Sequence[AttemptRecord]:
    """The last attempt that a person began, and those after it."""
    first = len(records) - 1
    while first > 0 and records[first].cause == "requeue":
        first -= 1
    return records[first:]


def _alike(one: Ending, other: Ending) -> bool:
    """Whether two errors are the same and at the same step.

    Numbers in the reasons may differ: they are ports, addresses and processes.
    """

    def shape(ending: Ending) -> str:
        return re.sub(r"0x[0-9a-f]+|\d+", "#", ending.reason)

    return one.step == other.step and shape(one) == shape(other)
