"""Finds out how an attempt ended and why, from what its ranks recorded and what killed it."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any, Literal

from ptycho_dist.attempts.record import AttemptRecord, Ending
from ptycho_dist.errors import EXIT_STOPPED, EXIT_USER_MISTAKE
from ptycho_dist.rundir.heartbeat import Heartbeat, read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import LAUNCHER, rank_writer, read_ledger

Outcome = Literal["finished", "stopped", "cut_short", "failed"]
Cause = Literal["finished", "cancelled", "mistake", "timeout", "preempt", "node_fail", "crash"]
EARLY_SIGNAL_S = 90
"""How much earlier than planned the ranks may stop for the walltime.

SLURM may send its signal up to 60 s early; the ranks then stop within a few steps.
"""

_KILLED_BY_STOP = frozenset({128 + signal.SIGTERM, 128 + signal.SIGUSR2})


def ending_of(
    run: RunDirectory,
    record: AttemptRecord,
    exit_code: int | None,
    *,
    now: float,
    lost_nodes: Sequence[str] = (),
    on_request: bool = False,
) -> Ending:
    """Find out how and why an attempt ended.

    Args:
        run: its directory.
        record: the record of the attempt.
        exit_code: of srun or of the local cluster; None: the batch script was killed before it
            could record the end.
        now: seconds since the epoch.
        lost_nodes: nodes of the attempt that the scheduler reports as down.
        on_request: whether a person ended the attempt.
    """
    failed = [
        heartbeat
        for heartbeat in read_heartbeats(run).values()
        if heartbeat.attempt == record.number and heartbeat.state == "failed"
    ]
    plan = run.plan()
    said = _Said(read_ledger(run, record.number), failed, plan.world.ranks)
    if run.result_json.exists():
        # Rank 0 writes it when the last epoch is committed, or the last step to be measured.
        measured = plan.measurement is not None
        why = "what was to be measured is measured" if measured else "all epochs are done"
        return said.ending("finished", "finished", why)
    outcome: Outcome = "failed"
    if said.count("stopped") == said.ranks and exit_code != 0:
        outcome = "stopped"
    elif said.count("left"):
        outcome = "cut_short"
    if on_request or cancel_requested(run, record.job_id):
        return said.ending(outcome, "cancelled", "ended on request")
    if exit_code == EXIT_USER_MISTAKE:
        return said.ending(outcome, "mistake", said.first_failure()[0] or "exit code 2")
    if lost_nodes:  # SLURM then ends the job, and its ranks stop as on request
        names = ", ".join(lost_nodes)
        return said.ending(outcome, "node_fail", f"node lost: {names}", lost_nodes[0])
    ends_at = record.ends_at
    agreed = said.count("stopped") > 0 and exit_code == EXIT_STOPPED
    if outcome != "failed" or agreed or said.killed_by_a_stop_signal(exit_code):
        lead_s = record.signal_lead_s or 0
        at_walltime = "walltime" in said.requests or (
            ends_at is not None and said.last_time >= ends_at - lead_s - EARLY_SIGNAL_S
        )
        asked = ", ".join(sorted(said.requests)) or "a signal"
        return said.ending(
            outcome, "timeout" if at_walltime else "preempt", f"asked to stop by {asked}"
        )
    reason, node = said.first_failure()
    if ends_at is not None and now >= ends_at - 5:
        return said.ending(outcome, "timeout", "killed at the walltime")
    if exit_code is None:
        return said.ending(
            outcome, "preempt", "the scheduler ended the job before its script could record the end"
        )
    if said.silent is not None:
        return said.ending(outcome, "node_fail", reason, said.silent)
    return said.ending(outcome, "crash", reason or f"exit code {exit_code}", node)


class _Said:
    """What the ledger and the heartbeats of one attempt show about its end."""

    def __init__(self, events: list[dict[str, Any]], failed: list[Heartbeat], ranks: int) -> None:
        self.ranks = ranks
        self._failed_early = sorted(failed, key=lambda heartbeat: heartbeat.updated_at)
        self._events = events
        self.requests = {
            str(event.get("signal") or event.get("why"))
            for event in self._of("stop_requested", "left")
        }
        self.last_time = max((float(event["time"]) for event in events), default=0.0)
        stalled = self._of("stalled")
        silent = [node for event in stalled for node in event.get("silent_nodes", [])]
        self.silent: str | None = str(silent[0]) if silent else None

    def count(self, kind: str) -> int:
        """Number of ranks that recorded an event of this kind."""
        return len({event["writer"] for event in self._of(kind)})

    def killed_by_a_stop_signal(self, exit_code: int | None) -> bool:
        """Whether a signal that asks to stop killed a rank that had no handler for it yet."""
        failed = self._failed_early or self._of("failed", "stalled")
        return exit_code in _KILLED_BY_STOP and not failed

    def first_failure(self) -> tuple[str, str | None]:
        """The reason of the rank that failed first, and its node if known.

        A rank that was killed records nothing, and the ranks that lose it fail within
        milliseconds. So a rank that joined and recorded no end comes before those that failed.
        """
        nodes = {event["writer"]: str(event.get("node")) for event in self._of("joined")}
        stalled = self._of("stalled")
        if stalled:
            return str(stalled[0].get("reason")), self.silent
        failed = self._of("failed")
        spoke = {event["writer"] for event in self._of("failed", "stopped", "left")}
        mute = [rank for rank in range(self.ranks) if rank_writer(rank) not in spoke]
        joined_mute = [rank for rank in mute if rank_writer(rank) in nodes]
        if failed and joined_mute:
            node = nodes[rank_writer(joined_mute[0])]
            return f"rank {joined_mute[0]} on {node} died without a word", node
        if failed:
            return str(failed[0].get("reason")), nodes.get(failed[0]["writer"])
        if self._failed_early:  # before it had a ledger: it could not join, for example
            return self._failed_early[0].reason, self._failed_early[0].node
        return "", None

    def ending(
        self, outcome: Outcome, cause: Cause, reason: str, node: str | None = None
    ) -> Ending:
        steps = [_step(event) for event in self._events]
        committed = [_step(e) for e in self._of("checkpoint_committed", "resumed_from", "stopped")]
        return Ending(
            outcome, cause, reason[:500], max(steps, default=0), max(committed, default=0), node
        )

    def _of(self, *kinds: str) -> list[dict[str, Any]]:
        return [event for event in self._events if event["event"] in kinds]


def _step(event: dict[str, Any]) -> int:
    step = event.get("step", 0)
    return step if isinstance(step, int) else 0


def cancel_requested(run: RunDirectory, job_id: str) -> bool:
    """Whether a person cancelled this job with `ptycho-launch cancel`."""
    return any(
        event["event"] == "cancel_requested" and event.get("job_id") == job_id
        for event in read_ledger(run, writer=LAUNCHER)
    )
