"""What the ranks of a run said: merged by time, whole, from their ends, or as they grow."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.slurm.jobs import Scheduler
from launcher.status.attempts import attempt_numbers, read_attempt
from launcher.status.run_status import status_of
from launcher.watching.log_files import LogLine, LogReader, first_stamp, log_files, tail_offset
from launcher.watching.watch import ASK_SCHEDULER_S
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.layout import RunDirectory

POLL_S = 0.5
_NO_END = 10**9


@dataclass(frozen=True, kw_only=True)
class LogSelection:
    """Which lines are wanted."""

    rank: int | None = None
    """One rank alone; None: all, and the batch script."""
    attempt: str | None = None
    """Its number, or `all`; None: the latest."""
    follow: bool = False
    """Go on until the run, or the attempt that was named, is over."""
    tail: int | None = None
    """Of each log no more than its last lines."""


def log_lines(run: RunDirectory, selection: LogSelection) -> Iterator[str]:
    """The lines that are wanted, each with its rank where several are.

    Raises:
        UserError: there is no such log, or the selection contradicts itself.
    """
    if selection.tail is not None and selection.tail < 0:
        raise UserError(f"--tail: a number of lines from 0 up, found {selection.tail}")
    return _lines(run, selection, _attempts(run, selection))


def _attempts(run: RunDirectory, selection: LogSelection) -> range:
    if selection.attempt == "all":
        return range(0, _NO_END)
    if selection.attempt is not None:
        number = named_attempt(run, selection.attempt)
        return range(number, number + 1)
    latest = max(attempt_numbers(run), default=0)
    return range(latest, _NO_END if selection.follow else latest + 1)


def named_attempt(run: RunDirectory, text: str) -> int:
    """The number of an attempt that a person named.

    Raises:
        UserError: the text is no number, or the run has no such attempt.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise UserError(f"--attempt: expected a number or `all`, found {text!r}")
    numbers = attempt_numbers(run)
    if int(text) not in numbers:
        had = f"attempts 1 to {numbers[-1]}" if numbers else "no attempt yet"
        raise UserError(f"{run.run_id} has no attempt {text}; it has {had}")
    return int(text)


def _lines(run: RunDirectory, selection: LogSelection, attempts: range) -> Iterator[str]:
    readers: dict[Path, LogReader] = {}
    scheduler = Scheduler(ASK_SCHEDULER_S)
    shown = attempts.start
    first_round = True
    while True:
        # asked before reading: nothing is missed
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
    """By time; lines of the same time, and those that have none, rank after rank."""
    return heapq.merge(
        *(reader.lines(whole=whole) for reader in readers), key=lambda line: line.stamp
    )


def _over(run: RunDirectory, attempts: range, scheduler: Scheduler) -> bool:
    """Whether nothing more will be said: the run is over, or the one attempt that was named is."""
    if len(attempts) == 1:
        number = attempts.start
        if attempt_numbers(run)[-1:] != [number] or read_attempt(run, number).end is not None:
            return True
    return status_of(run, scheduler).over
