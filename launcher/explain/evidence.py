"""What is known about one attempt: record, ledger, heartbeats, SLURM's accounting, and logs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from launcher.explain.batch_log import of_local_cluster, of_slurm
from launcher.explain.reading import TAIL_BYTES, Line, Log, clean, read_log
from launcher.slurm.sacct import Accounted, accounted
from ptycho_dist.attempts.record import AttemptRecord, Ending, read_attempts
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.files import read_json
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import read_ledger

SHORT_TAIL_BYTES = 16 * 1024
MOST_LOGS = 1024
"""How many logs are read if no rank has recorded anything."""
LOCAL_LOG = "batch-local.log"
_RANK_WRITER = re.compile(r"rank-(\d{1,9})")
_RANK_LOG = re.compile(r"attempt-(\d{1,9})-rank-(\d{1,9})\.log")


@dataclass(frozen=True)
class RecordedReason:
    """The reason for its failure that a rank has recorded in its ledger or heartbeat."""

    rank: int
    time: float
    """By the clock of the rank, in seconds since the epoch."""
    text: str
    line: Line
    """The text as evidence, with the file in which it stands."""


@dataclass(frozen=True)
class RankTrace:
    """What is recorded about one rank in the attempt."""

    node: str | None = None
    ended: bool = False
    """Whether it has recorded that it stopped, left, failed or finished."""
    last_sign: float = 0.0
    """When it last recorded anything; seconds since the epoch."""
    step: int | None = None
    """The last step that it recorded."""


@dataclass
class Evidence:
    """Everything that a verdict may use. Logs are read when they are needed."""

    run: RunDirectory
    record: AttemptRecord | None
    """Record of the attempt; None: the job began no attempt."""
    records: list[AttemptRecord]
    """The records of all attempts, oldest first."""
    job_id: str | None
    """The job of the attempt, or the last job if it began none; None: there was no job."""
    reasons: list[RecordedReason] = field(default_factory=list)
    """Recorded reasons, earliest first by the clocks of the ranks."""
    ranks: dict[int, RankTrace] = field(default_factory=dict)
    """Every rank that has recorded anything in the attempt."""
    account: list[Accounted] = field(default_factory=list)
    """The job and its steps in SLURM's accounting; empty if there is none."""

    @property
    def ending(self) -> Ending | None:
        """How the attempt ended, as the batch script found out; None: it recorded no end."""
        end = None if self.record is None else self.record.end
        return None if end is None else end.ending

    @property
    def restarts(self) -> bool:
        """Whether the attempt was to be followed by a restart."""
        end = None if self.record is None else self.record.end
        return end is not None and end.restarts

    @property
    def what_followed(self) -> str | None:
        """Why the attempt was, or was not, followed by a restart."""
        end = None if self.record is None else self.record.end
        return None if end is None or end.decision is None else clean(end.why)

    @property
    def number(self) -> int | None:
        """The number of the attempt; None: the job began none."""
        return None if self.record is None else self.record.number

    def rank_log(self, rank: int, tail_bytes: int = TAIL_BYTES) -> Log:
        """The log of a rank in this attempt."""
        if self.number is None:
            return Log()
        path = self.run.rank_log(self.number, rank)
        return read_log(self.run.path, path, tail_bytes)

    @cached_property
    def ranks_with_logs(self) -> list[int]:
        """The ranks that have a log of this attempt."""
        found = []
        for path in self.run.logs.glob(f"attempt-{self.number or 0:03d}-rank-*.log"):
            match = _RANK_LOG.fullmatch(path.name)
            if match is not None:
                found.append(int(match[2]))
        return sorted(found)

    @cached_property
    def batch(self) -> list[Line]:
        """The lines of the batch script, srun, slurmstepd or the local cluster in this attempt."""
        path = self._batch_log()
        if path is None:
            return []
        telling = read_log(self.run.path, path).telling
        if self.record is None:
            return telling
        if path.name == LOCAL_LOG:
            later = [each for each in self.records if each.number > self.record.number]
            return of_local_cluster(telling, sum(each.cause == "requeue" for each in later))
        starts = [each.number for each in self.records if each.job_id == self.job_id]
        return of_slurm(telling, self.record.number, starts)

    def _batch_log(self) -> Path | None:
        if self.record is not None and self.record.cluster == "local":
            return self.run.logs / LOCAL_LOG
        if self.job_id is not None and re.fullmatch(r"[\d_]{1,30}", self.job_id):
            return self.run.logs / f"batch-{self.job_id}.log"
        local = self.run.logs / LOCAL_LOG
        return local if local.exists() else None


def gather(run: RunDirectory, number: int | None, job_id: str | None) -> Evidence:
    """Gather what is known about an attempt.

    Args:
        run: directory of the run.
        number: number of the attempt; None: the latest one.
        job_id: the job that was submitted last; it counts if it began no attempt.

    Raises:
        UserError: there is no such attempt, or its record is damaged.
    """
    records = read_attempts(run)
    chosen = [record for record in records if number in (None, record.number)]
    if number is not None and not chosen:
        known = ", ".join(str(record.number) for record in records) or "none"
        raise UserError(f"--attempt {number}: {run.run_id} has no such attempt; known: {known}")
    record = chosen[-1] if chosen else None
    # The last job may have ended before it began an attempt. Then that job is to be explained, and
    # not the latest attempt, which belongs to an earlier job.
    if number is None and record is not None and job_id not in (None, record.job_id):
        record = record if any(each.job_id == job_id for each in records) else None
    job_id = record.job_id if record is not None else job_id
    evidence = Evidence(run, record, records, job_id)
    if record is not None:
        _read_ranks(evidence, record.number)
    if job_id is not None and (record is None or record.cluster == "slurm"):
        evidence.account = accounted(job_id)
    return evidence


_ENDED = frozenset({"failed", "stalled", "stopped", "left", "finished"})


def _read_ranks(evidence: Evidence, number: int) -> None:
    for event in read_ledger(evidence.run, number):
        writer, kind = str(event["writer"]), event["event"]
        match = _RANK_WRITER.fullmatch(writer)
        if match is None or not isinstance(kind, str):
            continue
        rank = int(match[1])
        before = evidence.ranks.get(rank, RankTrace())
        node = event.get("node")
        evidence.ranks[rank] = RankTrace(
            node=node if isinstance(node, str) else before.node,
            ended=before.ended or kind in _ENDED,
            last_sign=float(event["time"]),
            step=_whole(event.get("step"), before.step),
        )
        if kind in {"failed", "stalled"}:
            line = Line(f"ledger/{number:03d}-{writer}.jsonl", None, _text(event.get("reason")))
            evidence.reasons.append(RecordedReason(rank, float(event["time"]), line.text, line))
    _read_heartbeats(evidence, number)
    evidence.reasons.sort(key=lambda reason: reason.time)


def _read_heartbeats(evidence: Evidence, number: int) -> None:
    spoke = {reason.rank for reason in evidence.reasons}
    for path in sorted(evidence.run.heartbeats.glob("rank-*.json")):
        try:
            said = read_json(path)
            rank, at, reason = said["rank"], float(said["updated_at"]), said["reason"]
            if type(rank) is not int or said["attempt"] != number:
                continue
        except (UserError, KeyError, TypeError, ValueError, OverflowError):
            continue
        before = evidence.ranks.get(rank, RankTrace())
        state, progress = said.get("state"), said.get("progress")
        step = progress.get("step") if isinstance(progress, dict) else None
        evidence.ranks[rank] = RankTrace(
            node=before.node or (said["node"] if isinstance(said.get("node"), str) else None),
            ended=before.ended or state in ("failed", "stopped", "finished"),
            last_sign=max(before.last_sign, at),
            step=_whole(step, before.step),
        )
        if state == "failed" and rank not in spoke:
            line = Line(f"heartbeat/{path.name}", None, _text(reason))
            evidence.reasons.append(RecordedReason(rank, at, line.text, line))


def _text(value: object) -> str:
    return clean(" ".join(value.split())) if isinstance(value, str) else ""


def _whole(value: object, otherwise: int | None) -> int | None:
    return value if type(value) is int else otherwise
