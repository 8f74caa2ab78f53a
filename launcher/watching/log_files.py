"""The log files of a run, read piece by piece: they may be larger than the memory."""

from __future__ import annotations

import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.status.attempts import attempt_numbers, read_attempt
from launcher.status.submission_record import recorded_jobs
from launcher.text.plain_text import plain
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.layout import RunDirectory

_BLOCK = 64 * 1024
_LONGEST = 1024 * 1024
"""A line that is longer is cut into several."""
_RANK = re.compile(r"attempt-(\d{3,9})-rank-(\d{5,9})\.log")
_BATCH = re.compile(r"batch-(.+)\.log")
_STAMP = re.compile(rb"\[?(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?")


@dataclass(frozen=True)
class LogFile:
    """One file of `logs/`."""

    path: Path
    attempt: int | None
    """None: of the batch script, which may make several attempts."""
    rank: int | None

    @property
    def source(self) -> str:
        """Whose it is, in words."""
        return "batch" if self.rank is None else f"rank {self.rank}"


@dataclass(frozen=True)
class LogLine:
    """A line of a log."""

    stamp: str
    """`2026-11-24 13:32:23,391`: its own time, or of the last line before it that had one."""
    file: LogFile
    text: str


def log_files(run: RunDirectory, rank: int | None, attempts: range) -> list[LogFile]:
    """The logs of these attempts: of the batch script first, then rank after rank.

    Args:
        run: its directory.
        rank: one rank alone; None: all, and the batch script.
        attempts: their numbers.

    Raises:
        UserError: the folder, or the record of an attempt, cannot be read.
    """
    try:
        paths = [path for path in run.logs.iterdir() if stat.S_ISREG(path.stat().st_mode)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{run.logs}: cannot be read: {error.strerror}") from None
    of_ranks = []
    for path in paths:
        match = _RANK.fullmatch(path.name)
        if match and int(match[1]) in attempts and rank in (None, int(match[2])):
            of_ranks.append(LogFile(path, int(match[1]), int(match[2])))
    of_ranks.sort(key=lambda file: (file.attempt, file.rank))
    if rank is not None:
        return of_ranks
    jobs = _jobs(run, attempts)
    batches = [
        LogFile(path, None, None)
        for path in sorted(paths)
        if (match := _BATCH.fullmatch(path.name)) and (match[1] in jobs or match[1] == "local")
    ]
    return [*batches, *of_ranks]


def _jobs(run: RunDirectory, attempts: range) -> set[str]:
    """Of these attempts; the last one that was submitted may not have come as far as an attempt."""
    numbers = attempt_numbers(run)
    jobs = {read_attempt(run, number).job_id for number in numbers if number in attempts}
    if not numbers or numbers[-1] in attempts:
        jobs |= {job.job_id for job in recorded_jobs(run)[-1:]}
    return jobs


class LogReader:
    """The lines of one file, from where the last call left it."""

    def __init__(self, file: LogFile, *, offset: int = 0, stamp: str = "") -> None:
        self._file = file
        self._offset = offset
        self._stamp = stamp

    def lines(self, *, whole: bool) -> Iterator[LogLine]:
        """What is new; with `whole` also a last line that has no end.

        Raises:
            UserError: the file cannot be read.
        """
        pending = b""
        while block := self._read(self._offset + len(pending)):
            *complete, pending = (pending + block).split(b"\n")
            for line in complete:
                self._offset += len(line) + 1
                yield self._line(line)
            if len(pending) > _LONGEST:
                self._offset += len(pending)
                yield self._line(pending)
                pending = b""
        if whole and pending:
            self._offset += len(pending)
            yield self._line(pending)

    def _read(self, offset: int) -> bytes:
        """Opened for each block: a thousand files stay under the limit of open ones."""
        try:
            with self._file.path.open("rb") as file:
                file.seek(offset)
                return file.read(_BLOCK)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise UserError(f"{self._file.path}: cannot be read: {error.strerror}") from None

    def _line(self, line: bytes) -> LogLine:
        match = _STAMP.match(line)
        if match:
            day, hour, fraction = (part.decode() if part else "" for part in match.groups())
            self._stamp = max(self._stamp, f"{day} {hour},{fraction}")
        return LogLine(self._stamp, self._file, line.decode("utf-8", "replace"))


def first_stamp(run: RunDirectory, file: LogFile) -> str:
    """In place of the stamp of lines that come before any: the start of the attempt."""
    if file.attempt is None:
        return ""
    try:
        began = time.localtime(read_attempt(run, file.attempt).started_at)
    except UserError:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S,", began)


def tail_offset(path: Path, lines: int) -> int:
    """Where the last lines of a file begin, read from its end.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            if lines == 0:
                return end
            missing, at, last = lines, end, True
            while at > 0:
                start = max(0, at - _BLOCK)
                file.seek(start)
                block = file.read(at - start)
                place = len(block) - 1 if last and block.endswith(b"\n") else len(block)
                last = False
                while (place := block.rfind(b"\n", 0, place)) >= 0:
                    missing -= 1
                    if missing == 0:
                        return start + place + 1
                at = start
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    return 0


def last_line(run: RunDirectory, attempt: int) -> str:
    """The last line of rank 0's log, or of the batch script's, with its source; empty: none."""
    try:
        files = log_files(run, None, range(attempt, attempt + 1))
    except UserError:
        return ""
    for file in sorted(files, key=lambda file: (file.rank is None, file.rank)):
        try:
            text = _last_text(file.path)
        except OSError:
            continue
        if text:
            return f"{file.source}: {text}"
    return ""


def _last_text(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - 4096))
        lines = file.read(4096).decode("utf-8", "replace").split("\n")
    return next((shown for line in reversed(lines) if (shown := plain(line).strip())), "")
