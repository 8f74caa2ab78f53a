"""What went wrong in an attempt, the first error first: where each log first speaks of it."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from launcher.status.attempts import AttemptEnd, attempt_numbers, read_attempt
from launcher.watching.log_files import LogFile, LogReader, first_stamp, log_files
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.checked_json import moment
from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import read_ledger

_BEFORE = 5
_AFTER = 25
_ERROR = re.compile(
    r"Traceback \(most recent call last\)|\b(?:ERROR|CRITICAL|FATAL)\b|^(?:error|fatal)\b"
    r"|^\s*(?:\w+\.)*\w*(?:Error|Exception)\b\s*(?::|$)|\bKilled\b|\bwas killed by SIG"
    r"|Segmentation fault|Bus error|\boom[-_ ]kill|Aborted"
    r"|slurmstepd\S*: error(?!.*DUE TO JOB REQUEUE)|srun: error(?!.*exit code 75)"
)
_RAISED = re.compile(r"[\w.]+(?:Error|Exception|Interrupt|:)")


@dataclass
class _Found:
    """The first error of one log, with the lines around it."""

    file: LogFile
    at: float
    """When, in seconds since the epoch; infinite: nobody knows."""
    text: str
    context: list[str] = field(default_factory=list)


def error_lines(run: RunDirectory, rank: int | None, attempts: range) -> Iterator[str]:
    """The errors of these attempts: the earliest with what stands around it, then the others.

    Raises:
        UserError: a log or record cannot be read, or there are no logs.
    """
    if not log_files(run, rank, attempts):
        raise UserError(f"{run.run_id} has no such logs yet; see: ptycho-launch status")
    numbers = [number for number in attempt_numbers(run) if number in attempts]
    for number in numbers or [0]:
        end = read_attempt(run, number).end if number else None
        files = log_files(run, rank, range(number, number + 1))
        yield from _of_attempt(run, number, end, files)


def _of_attempt(
    run: RunDirectory, number: int, end: AttemptEnd | None, files: list[LogFile]
) -> Iterator[str]:
    if end is not None:
        cause = end.cause or end.outcome
        reason = end.reason or f"exit code {end.exit_code}"
        yield f"== attempt {number}: {cause}: {reason} =="
    elif number:
        yield f"== attempt {number} =="
    told = _told_at(run, number)
    found = [first for file in files if (first := _first_error(run, file)) is not None]
    for each in found:
        if each.file.rank is not None:
            each.at = told.get(each.file.rank, each.at)
    # srun and the batch script speak of what the ranks have already suffered
    found.sort(key=lambda each: (each.file.rank is None, each.at))
    if not found:
        yield "no line of these logs speaks of an error"
        return
    first, *rest = found
    when = "" if first.at == float("inf") else f" at {time.ctime(first.at)}"
    yield f"-- first: {first.file.source}{when}"
    yield from (f"[{first.file.source}] {line}" for line in first.context)
    if rest:
        yield f"-- then, {len(rest)} more:"
        yield from (f"[{each.file.source}] {each.text}" for each in rest)


def _told_at(run: RunDirectory, number: int) -> dict[int, float]:
    """When each rank said that it failed, by its ledger, else by its heartbeat."""
    told = {
        heartbeat.rank: heartbeat.updated_at
        for heartbeat in read_heartbeats(run).values()
        if heartbeat.attempt == number and heartbeat.state == "failed"
    }
    for event in read_ledger(run, number):
        at = moment(event, "time")
        if event["event"] in ("failed", "stalled") and at is not None:
            rank = _rank_of(str(event["writer"]))
            if rank is not None:
                told[rank] = min(at, told.get(rank, at))
    return told


def _rank_of(writer: str) -> int | None:
    match = re.fullmatch(r"rank-(\d{5,9})", writer)
    return int(match[1]) if match else None


def _first_error(run: RunDirectory, file: LogFile) -> _Found | None:
    before: deque[str] = deque(maxlen=_BEFORE)
    found: _Found | None = None
    for line in LogReader(file, stamp=first_stamp(run, file)).lines(whole=True):
        if found is None:
            if _ERROR.search(line.text):
                found = _Found(file, _seconds(line.stamp), line.text, [*before, line.text])
            before.append(line.text)
            continue
        if len(found.context) > _BEFORE + _AFTER:
            break
        found.context.append(line.text)
        if found.text.startswith("Traceback") and _RAISED.match(line.text):
            found.text = line.text  # what was raised says more than where
    return found


def _seconds(stamp: str) -> float:
    try:
        return time.mktime(time.strptime(stamp[:19], "%Y-%m-%d %H:%M:%S"))
    except (ValueError, OverflowError):
        return float("inf")
