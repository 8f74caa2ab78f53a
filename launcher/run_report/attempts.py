"""The attempts of a run as spans of time: waiting, start-up, training, and the time after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from launcher.run_report.events import Event, Events
from launcher.run_report.left_out import LeftOut
from launcher.status.history import PastAttempt, history_of
from launcher.status.submission_record import Job
from launcher.text.plain_text import plain
from launcher.timing.goodput import last_sign_of_life
from launcher.timing.start_up import start_up_s
from ptycho_dist.attempts.record import AttemptRecord, read_attempt
from ptycho_dist.proof.lineage import LineagePart
from ptycho_dist.rundir.checked_json import count, number
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.step_times import RankTimes

_ENDS_TRAINING = ("stopped", "left", "failed", "stalled")
MOST_REASONS = 20


@dataclass(frozen=True)
class CommittedCheckpoint:
    """One committed checkpoint."""

    at: float
    step: int
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class AttemptSpan:
    """One attempt; moments are in seconds since the epoch, None where unknown."""

    attempt: int
    job_id: str
    cluster: str
    nodes: tuple[str, ...]
    begun: str
    """How the attempt was started, in words."""
    cause: str
    """Cause of its end in one word; empty: it is at work, or its end was not recorded."""
    ended: str
    """How it ended, in words."""
    at_work: bool
    idle_s: float | None
    """Seconds from the end of the previous attempt until this one was requested."""
    waited_s: float | None
    """Seconds from the request to the start: the queue, or the wait before a restart."""
    started_at: float | None
    until: float | None
    """Its end; for an attempt at work the present, else its last sign of life."""
    training_from: float | None
    training_until: float | None
    """The end of training; reconstruction and shutdown follow."""
    from_step: int | None
    of_attempt: int | None
    """The attempt that committed the checkpoint from which this one continued."""
    reached_step: int | None
    kept_steps: int | None
    """Number of its steps that the committed weights come from; None: unknown."""
    checkpoints: tuple[CommittedCheckpoint, ...]
    failed_checkpoints: tuple[str, ...]
    """Step and reason of each failed checkpoint."""
    start_up_s: Mapping[str, float]
    """Seconds of the slowest rank in `launch` and each stage of START_UP; empty: not recorded."""

    @property
    def seconds(self) -> float | None:
        """Seconds from its start to its end, without the wait before it."""
        return _between(self.started_at, self.until)

    @property
    def starting_s(self) -> float | None:
        """Seconds until training began; where it did not begin, the whole attempt."""
        return _between(self.started_at, self.training_from or self.until)

    @property
    def training_s(self) -> float | None:
        """Seconds of training, validation and checkpoints."""
        return _between(self.training_from, self.training_until)

    @property
    def checkpoint_s(self) -> float:
        """Seconds of the training that went into writing checkpoints."""
        return sum(each.seconds or 0.0 for each in self.checkpoints)

    @property
    def after_s(self) -> float | None:
        """Seconds from the last step to the end."""
        return _between(self.training_until, self.until)


def attempt_spans(
    run: RunDirectory,
    events: Events,
    jobs: Sequence[Job],
    lineage: Sequence[LineagePart] | None,
    times: Mapping[int, Mapping[int, RankTimes]],
    working: int | None,
    now: float,
    left_out: LeftOut,
) -> tuple[AttemptSpan, ...]:
    """Read all attempts of a run, oldest first.

    Args:
        run: the run directory.
        events: the events of its ledger.
        jobs: the jobs that were submitted for it.
        lineage: the lineage of the committed weights; None: unknown.
        times: attempt → rank → step times; attempts without step times are missing.
        working: number of the attempt at work; None: there is none.
        now: the present, in seconds since the epoch.
        left_out: receives a note of what cannot be read.
    """
    found: list[AttemptSpan] = []
    history: list[PastAttempt] = left_out.reading("the attempts", lambda: history_of(run), [])
    for past in history:
        read = partial(read_attempt, run, past.attempt)
        record = left_out.reading(f"attempt {past.attempt}", read, None)
        before = found[-1] if found else None
        found.append(
            _span(past, record, before, events, jobs, lineage, times.get(past.attempt, {}),
                  now if past.attempt == working else None)
        )  # fmt: skip
    return tuple(found)


def _span(
    past: PastAttempt,
    record: AttemptRecord | None,
    before: AttemptSpan | None,
    events: Events,
    jobs: Sequence[Job],
    lineage: Sequence[LineagePart] | None,
    times: Mapping[int, RankTimes],
    now: float | None,
) -> AttemptSpan:
    own = events.of_attempt(past.attempt)
    started_at = past.started_at
    heard = last_sign_of_life(started_at, list(times.values()), own)
    until = now or past.ended_at or heard
    began = events.first("training_started", past.attempt)
    training_from = None if began is None else float(began["time"])
    idle_s, waited_s = _before(record, before, jobs)
    said = [step for event in own if (step := count(event, "step")) is not None]
    return AttemptSpan(
        attempt=past.attempt,
        job_id=plain(past.job_id or ""),
        cluster=plain(record.cluster) if record else "",
        nodes=tuple(plain(node) for node in record.nodes) if record else (),
        begun=plain(past.begun),
        cause=plain(past.cause or ""),
        ended=plain(past.ended),
        at_work=now is not None,
        idle_s=idle_s,
        waited_s=waited_s,
        started_at=started_at,
        until=until,
        training_from=training_from,
        training_until=None
        if training_from is None
        else _training_until(events, past.attempt, times, until),
        from_step=past.resumed_from_step,
        of_attempt=past.resumed_from_attempt,
        reached_step=past.reached_step
        if past.reached_step is not None
        else max(said, default=None),
        kept_steps=None
        if lineage is None
        else sum(p.to_step - p.from_step for p in lineage if p.attempt == past.attempt),
        checkpoints=tuple(
            CommittedCheckpoint(float(event["time"]), step, _seconds(event))
            for event in events.of("checkpoint_committed", attempt=past.attempt)
            if (step := count(event, "step")) is not None
        ),
        failed_checkpoints=tuple(
            f"step {count(event, 'step')}: {plain(str(event.get('reason')))[:200]}"
            for event in events.of("checkpoint_failed", attempt=past.attempt)[:MOST_REASONS]
        ),
        start_up_s=start_up_s(started_at, list(times.values())),
    )


def _before(
    record: AttemptRecord | None, before: AttemptSpan | None, jobs: Sequence[Job]
) -> tuple[float | None, float | None]:
    """Seconds before the attempt was requested, and from the request to its start."""
    if record is None:
        return None, None
    ended = before.until if before is not None else None
    # A requeue is requested by the end of the previous attempt, without a new submission.
    asked = ended if record.cause == "requeue" else None
    if asked is None:
        known = [job.submitted_at for job in jobs if job.job_id == record.job_id]
        asked = max((at for at in known if 0 < at <= record.started_at), default=None)
    return _between(ended, asked), _between(asked, record.started_at)


def _training_until(
    events: Events, attempt: int, times: Mapping[int, RankTimes], until: float | None
) -> float | None:
    """The end of training: the last step, or the moment of the interruption."""
    end = events.of(*_ENDS_TRAINING, attempt=attempt)
    last = [float(event["time"]) for event in end[:1]]
    # A run that finished has no event for its last step: take what its ranks did last before it.
    if not last and events.of("finished", attempt=attempt):
        done = events.of("checkpoint_committed", "epoch_finished", attempt=attempt)
        last = [float(event["time"]) for event in done[-1:]]
        last += [rank.blocks[-1].ended_at for rank in times.values() if rank.blocks]
    if not last or until is None:
        return until
    return min(max(last), until)


def _seconds(event: Event) -> float | None:
    seconds = number(event, "seconds")
    return seconds if seconds is not None and seconds >= 0 else None


def _between(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(0.0, other - one)
