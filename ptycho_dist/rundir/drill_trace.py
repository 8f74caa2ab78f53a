"""What the ranks of a drill have noted, and how it differs from an uninterrupted run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ptycho_dist.rundir.layout import RunDirectory

SIGNAL, STEP, STOPPED, RESUMED, FINAL = "signal", "step", "stopped", "resumed", "final"
_OF_A_STEP = ("order", "learning_rate", "loss", "random")
_CLOCKED = ("seconds", "patterns_per_s")
Trace = list[dict[str, Any]]


def without_clock(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of figures without the columns that differ from run to run."""
    return {name: value for name, value in row.items() if name not in _CLOCKED}


def trace_file(run: RunDirectory, attempt: int, rank: int) -> Path:
    """Return the file in which a rank notes what happens in an attempt."""
    return run.path / "drill" / f"{attempt:03d}-rank-{rank:05d}.jsonl"


def read_trace(run: RunDirectory, attempt: int, rank: int) -> Trace:
    """Return what a rank has noted; empty if it has not started to train."""
    path = trace_file(run, attempt, rank)
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def lost_in_resume(run: RunDirectory, attempts: int, ranks: int) -> Iterator[str]:
    """Yield the items of state that an attempt did not restore as the one before had left them.

    They are causes: what differs later follows from them.

    Args:
        run: the interrupted run.
        attempts: number of its attempts.
        ranks: number of its ranks.
    """
    for attempt in range(2, attempts + 1):
        for rank in range(ranks):
            left = _first(read_trace(run, attempt - 1, rank), STOPPED)
            taken = _first(read_trace(run, attempt, rank), RESUMED)
            if left is None or taken is None:
                continue
            for item in left:
                if left[item] != taken.get(item):
                    yield f"{item} (attempt {attempt}, rank {rank})"


def differences(one: RunDirectory, other: RunDirectory, attempts: int, ranks: int) -> Iterator[str]:
    """Yield what differs between an uninterrupted run and an interrupted one.

    Args:
        one: the uninterrupted run, with one attempt.
        other: the interrupted run.
        attempts: number of attempts of `other`.
        ranks: number of ranks of both.
    """
    for rank in range(ranks):
        expected = _steps(read_trace(one, 1, rank))
        found: dict[tuple[int, int], dict[str, Any]] = {}
        for attempt in range(1, attempts + 1):
            found |= _steps(read_trace(other, attempt, rank))
        for item in _OF_A_STEP:
            for key in sorted(expected.keys() | found.keys()):
                if expected.get(key, {}).get(item) != found.get(key, {}).get(item):
                    epoch, batch = key
                    name = item.replace("_", " ")
                    yield f"{name} (rank {rank}, epoch {epoch}, micro-batch {batch})"
                    break
        end = _first(read_trace(one, 1, rank), FINAL) or {}
        reached = _first(read_trace(other, attempts, rank), FINAL)
        if reached is None:
            yield f"the end (rank {rank} did not reach it)"
            continue
        for item in end:
            if end[item] != reached.get(item):
                yield f"{item} at the end (rank {rank})"


def _steps(trace: Trace) -> dict[tuple[int, int], dict[str, Any]]:
    return {(e["epoch"], e["batch"]): e for e in trace if e["kind"] == STEP}


def _first(trace: Trace, kind: str) -> dict[str, Any] | None:
    for event in trace:
        if event["kind"] == kind:
            return {name: event[name] for name in event if name not in ("kind", "time")}
    return None
