"""What a run is doing: its directory is asked first, the scheduler only if that is not enough."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from launcher.slurm.jobs import Scheduler
from launcher.slurm.pending_reasons import Wait
from launcher.status.eta import training_ends_at
from launcher.status.records import Records, read_records
from launcher.status.stragglers import stragglers
from launcher.status.verdict import OVER, state_of
from launcher.text.plain_text import plain
from ptycho_dist.attempts.record import AttemptRecord
from ptycho_dist.errors import UserError
from ptycho_dist.proof.rank_records import MOST_RANKS
from ptycho_dist.rundir.checked_json import count, number, scalars
from ptycho_dist.rundir.heartbeat import Heartbeat, read_heartbeat, read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory

FORMAT = 1
"""Format number of `status --json`; it changes when an entry changes its meaning or is removed."""
_WHOLE = ("epoch", "epochs", "step", "total_steps", "began_step", "epoch_step")
_NUMBERS = ("loss", "patterns_per_s", "own_s", "batch_s", "began_at", "epoch_at")
STATES = ("prepared", "pending", "running", "unknown", *sorted(OVER), "damaged")


@dataclass(frozen=True, kw_only=True)
class RankStatus:
    """One rank of the latest attempt."""

    rank: int
    node: str
    state: str
    reason: str
    age_s: float
    """Seconds since its last heartbeat."""
    progress: dict[str, Any]
    straggler: str = ""
    """Why it slows the other ranks down; empty: it does not."""

    @property
    def step(self) -> int | None:
        """The last optimizer step that it reported."""
        return count(self.progress, "step")

    @property
    def patterns_per_s(self) -> float | None:
        """The rate of this rank."""
        return number(self.progress, "patterns_per_s")


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """A run at one moment."""

    run_id: str
    path: str
    array_id: str | None = None
    """The array that it is a member of."""
    state: str
    """One of STATES."""
    cause: str
    """Why it is in that state, in words."""
    said_by: str
    """Source of the state: `run directory`, `squeue`, `sacct` or `processes`."""
    cluster: str | None
    job_id: str | None
    attempts: int
    ranks: list[RankStatus]
    """The ranks that have reported in the latest attempt."""
    ranks_planned: int | None = None
    """Number of ranks in the plan; None: unknown."""
    waiting: Wait | None = None
    """Why the job waits in the queue, if it does."""
    starts_at: float | None = None
    """When SLURM expects to start it, in seconds since the epoch."""
    began_at: float | None = None
    """When the job began its latest attempt, else when it was submitted."""
    ended_at: float | None = None
    """When the latest attempt ended."""
    walltime_ends_at: float | None = None
    """When the walltime of the running attempt is over."""
    training_ends_at: float | None = None
    """When the training will be done, at the rate of the running attempt."""

    @property
    def over(self) -> bool:
        """Whether nothing of the run is alive and nothing will start by itself."""
        return self.state in OVER

    @property
    def beyond_walltime(self) -> bool:
        """Whether the walltime is over before the training will be."""
        done_at, ends_at = self.training_ends_at, self.walltime_ends_at
        return done_at is not None and ends_at is not None and done_at > ends_at

    @property
    def progress(self) -> dict[str, Any]:
        """Epoch, step, loss and so on as rank 0 last reported, with the patterns/s of all ranks."""
        own = next((dict(rank.progress) for rank in self.ranks if rank.rank == 0), {})
        known = [rate for rank in self.ranks if (rate := rank.patterns_per_s) is not None]
        own.pop("patterns_per_s", None)
        if known:
            own["patterns_per_s"] = round(sum(known) / len(known) * len(self.ranks), 1)
        return own

    def to_json(self) -> dict[str, Any]:
        """Plain data for `status --json` (specs/status.schema.json)."""
        return {
            "format": FORMAT,
            **asdict(self),
            "beyond_walltime": self.beyond_walltime,
            "progress": self.progress,
        }


def status_of(run: RunDirectory, scheduler: Scheduler | None = None) -> RunStatus:
    """The state of a run, with all its ranks.

    The run directory is asked first, SLURM only if the latest attempt recorded no end.

    Args:
        run: its directory.
        scheduler: asks SLURM about jobs; None: a new one.

    Raises:
        UserError: the run directory is damaged.
    """
    scheduler = scheduler or Scheduler()
    records = read_records(run, scheduler)
    heartbeats = _of_attempt(read_heartbeats(run).values(), records.latest)
    status = _status(records, scheduler, heartbeats)
    return replace(status, ranks_planned=_planned(run))


def brief_status_of(records: Records, scheduler: Scheduler) -> RunStatus:
    """The state of one run among many, with rank 0 alone.

    Args:
        records: what its directory says.
        scheduler: asks SLURM about the job.

    Raises:
        UserError: the run directory is damaged.
    """
    first = read_heartbeat(records.run, 0)
    heartbeats = _of_attempt([] if first is None else [first], records.latest)
    return _status(records, scheduler, heartbeats)


def _status(records: Records, scheduler: Scheduler, heartbeats: Sequence[Heartbeat]) -> RunStatus:
    job, latest, run = records.job, records.latest, records.run
    said = state_of(records, scheduler, heartbeats)
    end = latest.end if latest is not None and said.state in OVER else None
    at_work = latest if said.state == "running" else None
    first = next((beat for beat in heartbeats if beat.rank == 0), None)
    trains = first is not None and first.state in {"training", "validating"}
    attempt = records.of_job
    began_at = attempt.started_at if attempt else (job.submitted_at or None) if job else None
    return RunStatus(
        run_id=run.run_id,
        path=str(run.path),
        array_id=run.array_id,
        state=said.state,
        cause=plain(said.cause),
        said_by=said.by,
        cluster=job.cluster if job else None,
        job_id=job.job_id if job else None,
        attempts=records.attempts,
        ranks=_ranks(heartbeats, at_work is not None),
        waiting=said.waiting,
        starts_at=said.starts_at,
        began_at=began_at,
        ended_at=end.ended_at if end else None,
        walltime_ends_at=at_work.ends_at if at_work else None,
        training_ends_at=training_ends_at(first.progress, first.updated_at)
        if at_work and first is not None and trains
        else None,
    )


def _planned(run: RunDirectory) -> int | None:
    try:
        ranks = run.world().ranks
    except UserError:
        return None
    return ranks if type(ranks) is int and 0 < ranks <= MOST_RANKS else None


def _of_attempt(heartbeats: Iterable[Heartbeat], attempt: AttemptRecord | None) -> list[Heartbeat]:
    own = [beat for beat in heartbeats if attempt is not None and beat.attempt == attempt.number]
    return sorted(own, key=lambda beat: beat.rank)


def _progress(beat: Heartbeat) -> dict[str, Any]:
    """The figures in a heartbeat, without those that should be numbers and are not."""
    said = scalars(beat.progress)
    nothing = {name for name in _WHOLE if name in said and count(said, name) is None}
    nothing |= {name for name in _NUMBERS if name in said and number(said, name) is None}
    return {name: value for name, value in said.items() if name not in nothing}


def _ranks(heartbeats: Sequence[Heartbeat], at_work: bool) -> list[RankStatus]:
    now = time.time()
    behind = stragglers(heartbeats) if at_work else {}
    return [
        RankStatus(
            rank=beat.rank,
            node=plain(beat.node),
            state=beat.state,
            reason=plain(beat.reason),
            age_s=round(max(0.0, now - beat.updated_at), 1),
            progress=_progress(beat),
            straggler=behind.get(beat.rank, ""),
        )
        for beat in heartbeats
    ]
