"""The log lines of a run, merged by time: whole, from the end of each log, or as they come."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.slurm.jobs import Scheduler
from launcher.status.run_status import status_of
from launcher.watching.log_files import LogLine, LogReader, first_stamp, log_files, tail_offset
from launcher.watching.watch import ASK_SCHEDULER_S
from ptycho_dist.attempts.record import attempt_numbers, read_attempt
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.layout import RunDirectory

POLL_S = 0.5
_NO_END = 10**9


@dataclass(frozen=True, kw_only=True)
class LogSelection:
    """Which lines of the logs to show."""

    rank: int | None = None
    """Show only this rank; None: all ranks and the batch script."""
    attempt: int | None = None
    """Show only this attempt; None: the latest one."""
    all_attempts: bool = False
    """Show every attempt."""
    follow: bool = False
    """Wait for new lines until the run, or the chosen attempt, is over."""
    tail: int | None = None
    """Begin with this many last lines of each log; None: with the first line."""


def log_lines(run: RunDirectory, selection: LogSelection) -> Iterator[str]:
    """The selected lines; each begins with its source unless one rank was selected.

    Raises:
        UserError: there is no such log or attempt, or the number of lines is negative.
    """
    if selection.tail is not None and selection.tail < 0:
        raise UserError(f"--tail: expected 0 or more lines, found {selection.tail}")
    return _lines(run, selection, _attempts(run, selection))


def _attempts(run: RunDirectory, selection: LogSelection) -> range:
    if selection.all_attempts:
        return range(0, _NO_END)
    if selection.attempt is not None:
        require_attempt(run, selection.attempt)
        return range(selection.attempt, selection.attempt + 1)
    latest = max(attempt_numbers(run), default=0)
    return range(latest, _NO_END if selection.follow else latest + 1)


def require_attempt(run: RunDirectory, number: int) -> None:
    """Check that a run has an attempt.

    Raises:
        UserError: it does not.
    """
    numbers = attempt_numbers(run)
    if number not in numbers:
        had = f"attempts 1 to {numbers[-1]}" if numbers else "no attempt yet"
        raise UserError(f"{run.run_id} has no attempt {number}; it has {had}")


def _lines(run: RunDirectory, selection: LogSelection, attempts: range) -> Iterator[str]:
    readers: dict[Path, LogReader] = {}
    scheduler = Scheduler(ASK_SCHEDULER_S)
    shown = attempts.start
    first_round = True
    while True:
        # Ask before reading: lines written before the end are then not missed.
        over = not selection.follow or _over(run, attempts, scheduler)
        for file in log_files(run, selection.rank, attempts):
            if file.path not in readers:
                tail = selection.tail if first_round else None
                readers[file.path] = LogReader(
                    file,
                    offset=0 if tail is None else tail_offset(file.path, tail),
                    stamp=first_stamp(run, file),
                )
        if not readers and not selection.follow:
            which = "logs" if selection.rank is None else f"log of rank {selection.rank}"
            raise UserError(f"{run.run_id} has no {which} yet; see: ptycho-launch status")
        for line in _merged(readers.values(), whole=over):
            attempt = line.file.attempt
            if attempt is not None and attempt != shown:
                yield f"== attempt {attempt} =="
                shown = attempt
            yield f"[{line.file.source}] {line.text}" if selection.rank is None else line.text
        if over:
            return
        first_round = False
        time.sleep(POLL_S)


def _merged(readers: Iterable[LogReader], *, whole: bool) -> Iterator[LogLine]:
    """Merge by time; lines with the same time, or without one, keep the order of the ranks."""
    return heapq.merge(
        *(reader.lines(whole=whole) for reader in readers), key=lambda line: line.stamp
    )


def _over(run: RunDirectory, attempts: range, scheduler: Scheduler) -> bool:
    """Whether no more lines will come: the run is over, or the chosen attempt is."""
    if len(attempts) == 1:
        number = attempts.start
        if attempt_numbers(run)[-1:] != [number] or read_attempt(run, number).end is not None:
            return True
    return status_of(run, scheduler).over
