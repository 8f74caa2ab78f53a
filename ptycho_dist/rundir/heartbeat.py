"""The sign of life of each rank: one small JSON file, replaced as a whole, never fsynced.

A heartbeat tells people how far a run is and why a rank did not come. Nothing that decides
about data is read from it.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

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
    """What one rank says of itself."""

    rank: int
    node: str
    pid: int
    attempt: int | None
    """None: not known yet (a rank that torchrun started, before it has joined)."""
    state: State
    reason: str = ""
    """Why it failed, in one line."""
    progress: dict[str, Any] = field(default_factory=dict)
    """epoch, step, total_steps, loss, patterns_per_s ... once training runs."""
    updated_at: float = field(default_factory=time.time)


def write_heartbeat(run: RunDirectory, heartbeat: Heartbeat) -> None:
    """Replace the rank's heartbeat; a full or slow disk must not stop a training."""
    path = run.heartbeats / f"rank-{heartbeat.rank:05d}.json"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(asdict(heartbeat)), "utf-8")
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)


def read_heartbeats(run: RunDirectory) -> dict[int, Heartbeat]:
    """The last heartbeat of each rank that ever wrote one; damaged files are left out."""
    heartbeats = {}
    for path in sorted(run.heartbeats.glob("rank-*.json")):
        try:
            heartbeat = Heartbeat(**json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            continue
        heartbeats[heartbeat.rank] = heartbeat
    return heartbeats
