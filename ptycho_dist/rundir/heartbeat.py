"""The heartbeat of each rank: one small JSON file, replaced atomically, never fsynced.

Heartbeats show people how far a run is and why a rank failed. No decision about data depends on
them.
"""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from ptycho_dist.rundir.layout import RunDirectory

State = Literal[
    "starting",
    "joining",
    "staging",
    "training",
    "validating",
    "reconstructing",
    "stopped",
    "failed",
    "finished",
]


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The state of one rank, as the rank reports it."""

    rank: int
    node: str
    pid: int
    attempt: int | None
    """Number of the attempt; None: not known yet (a rank of torchrun that has not joined)."""
    state: State
    reason: str = ""
    """Why the rank failed, in one line."""
    progress: dict[str, Any] = field(default_factory=dict)
    """During training: epoch, step, total_steps, loss, patterns_per_s ... (RD-205, RD-206)."""
    updated_at: float = field(default_factory=time.time)
    """When it was written, in seconds since the epoch."""


def write_heartbeat(run: RunDirectory, heartbeat: Heartbeat) -> None:
    """Replace the heartbeat of a rank; disk errors are ignored, so they cannot stop a training."""
    path = run.heartbeats / f"rank-{heartbeat.rank:05d}.json"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(asdict(heartbeat)), "utf-8")
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)


def read_heartbeats(run: RunDirectory) -> dict[int, Heartbeat]:
    """Read the last heartbeat of every rank; damaged files are skipped."""
    heartbeats = {}
    try:
        names = sorted(path.name for path in run.heartbeats.iterdir())
    except OSError:
        return {}
    for name in names:
        if name.startswith("rank-") and name.endswith(".json"):
            heartbeat = _read(run.heartbeats / name)
            if heartbeat is not None:
                heartbeats[heartbeat.rank] = heartbeat
    return heartbeats


def read_heartbeat(run: RunDirectory, rank: int) -> Heartbeat | None:
    """Read the last heartbeat of one rank; None: it is missing or damaged."""
    return _read(run.heartbeats / f"rank-{rank:05d}.json")


def _read(path: Path) -> Heartbeat | None:
    try:
        heartbeat = Heartbeat(**json.loads(path.read_bytes()))
        return heartbeat if _sound(heartbeat) else None
    except (OSError, ValueError, TypeError, RecursionError, OverflowError):
        return None


def _sound(heartbeat: Heartbeat) -> bool:
    """Whether each value has the right type, since the file is untrusted."""
    numbers = (heartbeat.rank, heartbeat.pid, 0 if heartbeat.attempt is None else heartbeat.attempt)
    return (
        all(type(number) is int and 0 <= number < 2**31 for number in numbers)
        and all(isinstance(text, str) for text in (heartbeat.node, heartbeat.reason))
        and heartbeat.state in get_args(State)
        and isinstance(heartbeat.progress, dict)
        and type(heartbeat.updated_at) in (int, float)
        and math.isfinite(heartbeat.updated_at)
    )
