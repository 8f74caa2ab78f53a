"""A thread next to the training of each rank, which ends the rank in time and names a stalled one.

The main thread may wait in a collective for as long as another rank likes. This thread sees signals
nevertheless, through a pipe. It keeps the deadline of a stop, and publishes in the store that this
process lives and how far it is.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

import torch.distributed as dist

from ptycho_dist.runtime.stop import STOP_SIGNALS, StopRequest

log = logging.getLogger(__name__)

ONE_SIGNAL_S = 1.0
"""Stop signals within this time count as one, as SLURM may deliver one twice."""
LONGEST_PERIOD_S = 5.0
"""Seconds between two looks of the guard, at most."""


class RankGuard:
    """Watches the main thread of a rank, from joining to leaving."""

    def __init__(
        self,
        rank: int,
        nodes: Sequence[str],
        stop: StopRequest,
        *,
        limit_s: float,
        lead_s: float | None,
        leave: Callable[[str], None],
        fail: Callable[[str, list[str]], None],
    ) -> None:
        """Prepare the guard; `start` begins to watch.

        Args:
            rank: this rank.
            nodes: names of the nodes of all ranks, in rank order.
            stop: the stop request whose signals are watched.
            limit_s: seconds without progress after which the job must end.
            lead_s: seconds that a stop may take; None: no limit.
            leave: called with the reason on a second signal or after the deadline; ends the
                process.
            fail: called when the ranks are stalled, with the reason and the nodes of ranks that
                show no sign of life; ends the process.
        """
        self._rank = rank
        self._nodes = nodes
        self._stop = stop
        self._limit_s = limit_s
        self._lead_s = lead_s
        self._leave = leave
        self._fail = fail
        self._period_s = min(LONGEST_PERIOD_S, limit_s / 10)
        self._place = (0, "joined")
        self._moved_at = time.monotonic()
        self._signalled_at: float | None = None
        self._over = threading.Event()
        self._store: dist.Store | None = None

    def moved(self, where: str) -> None:
        """Note where the main thread is now.

        All ranks call this in the same order, so that the others wait for the one with the fewest
        calls.
        """
        self._place = (self._place[0] + 1, where)
        self._moved_at = time.monotonic()

    def alive(self) -> None:
        """Note that the main thread still works at the same place."""
        self._moved_at = time.monotonic()

    def start(self, host: str, port: int) -> None:
        """Begin to watch, with a separate connection to rank 0's store at this address."""
        if len(self._nodes) > 1:
            self._store = dist.TCPStore(
                host, port, is_master=False, timeout=timedelta(seconds=self._limit_s)
            )
        self._publish(0)  # the others must know this rank, even if it stalls from here on
        threading.Thread(target=self._watch, name="guard", daemon=True).start()

    def end(self) -> None:
        """Stop watching, because the rank leaves by itself."""
        self._over.set()

    # --- the thread ----------------------------------------------------------------------------

    def _watch(self) -> None:
        beat = 0
        while not self._over.is_set():
            self._read_signals(self._period_s)
            if self._over.is_set():
                return
            deadline = self._deadline()
            if deadline is not None and time.monotonic() >= deadline:
                self._leave("deadline")
            beat += 1
            self._publish(beat)
            if time.monotonic() - self._moved_at > self._limit_s:
                self._judge()

    def _read_signals(self, timeout_s: float) -> None:
        deadline = self._deadline()
        if deadline is not None:
            timeout_s = max(0.0, min(timeout_s, deadline - time.monotonic()))
        if self._stop.arrivals is None:
            self._over.wait(timeout_s)
            return
        ready, _, _ = select.select([self._stop.arrivals], [], [], timeout_s)
        if not ready:
            return
        numbers = os.read(self._stop.arrivals, 1024)
        now = time.monotonic()
        if not any(number in STOP_SIGNALS for number in numbers):
            return
        if self._signalled_at is None:
            self._signalled_at = now
        elif now - self._signalled_at > ONE_SIGNAL_S and not self._over.is_set():
            self._leave("second signal")

    def _deadline(self) -> float | None:
        asked = self._signalled_at or self._stop.asked_at
        if asked is None or self._lead_s is None:
            return None
        return asked + 0.9 * self._lead_s

    def _publish(self, beat: int) -> None:
        if self._store is None:
            return
        count, where = self._place
        with suppress(RuntimeError):  # the store is gone, as rank 0 has left
            self._store.set(f"guard/{self._rank}", f"{beat} {count} {where}")

    def _judge(self) -> None:
        """Find out for which rank this one has waited too long, and end the process."""
        first = self._read_all()
        self._over.wait(3 * self._period_s)
        if self._over.is_set() or time.monotonic() - self._moved_at <= self._limit_s:
            return
        reason, silent = judge_stall(first, self._read_all(), self._nodes, self._rank)
        reason = f"no progress for {self._limit_s:.0f} s: {reason}"
        log.error("%s; this rank: %s", reason, self._place[1])
        faulthandler.dump_traceback(file=sys.stderr)
        self._fail(reason, [self._nodes[rank] for rank in silent])

    def _read_all(self) -> list[str]:
        if self._store is None:
            return [f"0 {self._place[0]} {self._place[1]}"]
        published = []
        try:
            for rank in range(len(self._nodes)):
                key = f"guard/{rank}"  # `get` would wait for a rank that has never published
                known = self._store.check([key])
                published.append(self._store.get(key).decode() if known else "0 0 starting")
        except RuntimeError:
            return []
        return published


def judge_stall(
    before: Sequence[str], after: Sequence[str], nodes: Sequence[str], own: int
) -> tuple[str, list[int]]:
    """Judge which rank is stalled, from two readings of what all ranks have published.

    Args:
        before: a line `BEAT COUNT WHERE` of each rank, in rank order.
        after: the same, some beats later.
        nodes: names of the nodes of all ranks, in rank order.
        own: the rank that judges.

    Returns:
        The reason in words, and the ranks that gave no sign of life in between.
    """
    if not before or not after:
        return "rank 0 and its store do not answer", [0]
    silent = [
        rank
        for rank, (old, new) in enumerate(zip(before, after, strict=True))
        if old.split()[0] == new.split()[0] and len(nodes) > 1 and rank != own
    ]
    if silent:
        return f"{_named(silent, nodes)} shows no sign of life", silent
    counts = [int(text.split()[1]) for text in after]
    behind = [rank for rank, count in enumerate(counts) if count == min(counts)]
    where = after[behind[0]].split(maxsplit=2)[2]
    if len(behind) == len(nodes) and len(nodes) > 1:
        return f"all ranks are at the same place ({where}) and wait for each other", []
    return f"{_named(behind, nodes)} is behind, in: {where}", []


def _named(ranks: Sequence[int], nodes: Sequence[str]) -> str:
    shown = ", ".join(f"rank {rank} on {nodes[rank]}" for rank in ranks[:4])
    return shown + (f" and {len(ranks) - 4} more" if len(ranks) > 4 else "")
