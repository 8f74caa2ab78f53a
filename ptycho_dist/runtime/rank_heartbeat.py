"""Writes the heartbeat of one rank: regularly, and at once when the state changes."""

from __future__ import annotations

import os
import time
from typing import Any

from ptycho_dist.rundir.heartbeat import Heartbeat, State, write_heartbeat
from ptycho_dist.rundir.layout import RunDirectory

RANK_ZERO_EVERY_S = 1.0
OTHERS_EVERY_S = 10.0
"""Rank 0 drives the progress bar; the others write less often, to spare the file system."""


class RankHeartbeat:
    """The heartbeat of one rank, with its rate of patterns; written no more often than needed."""

    def __init__(self, run: RunDirectory, rank: int, node: str) -> None:
        self._run = run
        self._rank = rank
        self._node = node
        self.attempt: int | None = None
        """Number of the attempt; None: not known yet."""
        self._state: State = "starting"
        self._every_s = RANK_ZERO_EVERY_S if rank == 0 else OTHERS_EVERY_S
        self._written_at = 0.0
        self._patterns = 0
        self._counted_since = time.monotonic()
        self._rate: float | None = None
        self._own_s = 0.0
        self._batches = 0
        self._work_began: float | None = None
        self._progress: dict[str, Any] = {}

    def count_patterns(self, count: int) -> None:
        """Count patterns that have been used for training."""
        self._patterns += count

    def start_counting(self) -> None:
        """Start to count for the rate of patterns; what came before was not training."""
        self._patterns, self._counted_since = 0, time.monotonic()
        self._own_s, self._batches = 0.0, 0

    def own_work_begins(self) -> None:
        """Note that this rank loads a micro-batch, and waits for no other rank from here on."""
        self._work_began = time.monotonic()

    def own_work_ends(self) -> None:
        """Note that the backward pass begins, in which all ranks wait for the slowest."""
        if self._work_began is not None:
            self._own_s += time.monotonic() - self._work_began
            self._batches += 1
            self._work_began = None

    def note(self, **progress: Any) -> None:
        """Keep values for the next heartbeat and for `step`; write nothing."""
        self._progress.update(progress)

    @property
    def step(self) -> int:
        """The optimizer step that was noted last."""
        return int(self._progress.get("step", 0))

    def due(self, state: State) -> bool:
        """Return whether a heartbeat is due: the state has changed, or the last one is old."""
        return state != self._state or time.monotonic() - self._written_at >= self._every_s

    def write(self, state: State, *, reason: str = "", **progress: Any) -> None:
        """Write the heartbeat.

        Args:
            state: what this rank does now.
            reason: why it failed or left.
            progress: plain values to show; values of earlier calls are kept.
        """
        clock = time.monotonic()
        elapsed = clock - self._counted_since
        if self._patterns and elapsed > self._every_s / 2:
            self._rate = self._patterns / elapsed
            if self._batches:
                self.note(
                    own_s=round(self._own_s / self._batches, 6),
                    batch_s=round(elapsed / self._batches, 6),
                )
            self._patterns, self._counted_since = 0, clock
            self._own_s, self._batches = 0.0, 0
        self._state, self._written_at = state, clock
        progress = self._progress = {**self._progress, **progress}
        if self._rate is not None:
            progress["patterns_per_s"] = round(self._rate, 2)
        write_heartbeat(
            self._run,
            Heartbeat(
                rank=self._rank,
                node=self._node,
                pid=os.getpid(),
                attempt=self.attempt,
                state=self._state,
                reason=reason,
                progress=progress,
            ),
        )
