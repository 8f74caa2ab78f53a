"""The attempts of a run: when each began and ended, why, and from which checkpoint it resumed."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ptycho_dist.attempts.record import AttemptEnd, attempt_numbers, read_attempt
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.checked_json import count
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import rank_writer

_READ_BYTES = 64 * 1024
"""`resumed_from` is among the first events of a rank's ledger, which may grow to megabytes."""
REQUEUED = "requeued by itself"
_BEGUN = {"submit": "submitted", "resume": "resumed by a person", "requeue": REQUEUED}
_ENDED = {
    "finished": "finished",
    "cancelled": "cancelled",
    "mistake": "a mistake in config, data or command",
    "timeout": "walltime",
    "preempt": "preempted, or asked to stop",
    "node_fail": "a node was lost",
    "crash": "a rank failed",
}


@dataclass(frozen=True, kw_only=True)
class PastAttempt:
    """One attempt."""

    attempt: int
    job_id: str | None
    begun: str
    """What began it, in words."""
    started_at: float | None
    ended_at: float | None
    """None: it is at work, or its end was not recorded."""
    resumed_from_step: int | None
    """0: it began from the beginning; None: unknown."""
    resumed_from_attempt: int | None
    """The attempt that committed that checkpoint."""
    reached_step: int | None
    """The largest step that its ranks are known to have reached, once it has ended."""
    cause: str | None
    """The cause of its end in a word: `timeout`, `crash` ..."""
    ended: str
    """Its end in words; empty while it is at work."""


def history_of(run: RunDirectory) -> list[PastAttempt]:
    """All attempts, oldest first; a damaged record is shown as such.

    Raises:
        UserError: the directory of attempts cannot be read.
    """
    numbers = attempt_numbers(run)
    return [_past(run, number, last=number == numbers[-1]) for number in numbers]


def _past(run: RunDirectory, number: int, *, last: bool) -> PastAttempt:
    step, of_attempt = _resumed_from(run, number)
    try:
        record = read_attempt(run, number)
    except UserError as error:
        return PastAttempt(
            attempt=number, job_id=None, begun="", started_at=None, ended_at=None,
            resumed_from_step=step, resumed_from_attempt=of_attempt, reached_step=None,
            cause=None, ended=f"its record is damaged: {error}",
        )  # fmt: skip
    end = record.end
    return PastAttempt(
        attempt=number,
        job_id=record.job_id,
        begun=_BEGUN.get(record.cause, record.cause),
        started_at=record.started_at,
        ended_at=end.ended_at if end else None,
        resumed_from_step=step,
        resumed_from_attempt=of_attempt,
        reached_step=end.ending.step if end else None,
        cause=(end.ending.cause or end.ending.outcome) if end else None,
        ended=_words(end, last=last),
    )


def _words(end: AttemptEnd | None, *, last: bool) -> str:
    if end is None:
        return "" if last else "its end was not recorded"
    ending = end.ending
    what = _ENDED.get(ending.cause, ending.cause or ending.outcome)
    if ending.outcome == "finished":
        return what
    code = f"exit code {end.exit_code}" if end.exit_code is not None else ""
    reason = ending.reason or code
    return f"{what}: {reason}" if reason and reason != what else what


def _resumed_from(run: RunDirectory, number: int) -> tuple[int | None, int | None]:
    """Step and attempt of the checkpoint that rank 0 read at the start of an attempt."""
    path = run.ledger / f"{number:03d}-{rank_writer(0)}.jsonl"
    try:
        with path.open("rb") as file:
            lines = file.read(_READ_BYTES).split(b"\n")
    except OSError:
        return None, None
    for line in lines[:-1]:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(event, dict):
            continue
        if event.get("event") == "resumed_from":
            return count(event, "step"), count(event, "of_attempt")
        if event.get("event") == "training_started":
            return count(event, "step"), None
    return None, None
