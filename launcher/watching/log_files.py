"""The log files of a run, read in blocks because they may be larger than the memory."""

from __future__ import annotations

import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launcher.status.submission_record import recorded_jobs
from launcher.text.plain_text import plain
from ptycho_dist.attempts.record import attempt_numbers, read_attempt
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.layout import RunDirectory

_BLOCK = 64 * 1024
_LONGEST = 1024 * 1024
"""Bytes; a longer line is split."""
_RANK = re.compile(r"attempt-(\d{3,9})-rank-(\d{5,9})\.log")
_BATCH = re.compile(r"batch-(.+)\.log")
_STAMP = re.compile(rb"\[?(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?")


@dataclass(frozen=True)
class LogFile:
    """One file in `logs/`."""

    path: Path
    attempt: int | None
    """Number of the attempt; None: the log of a batch script, which may span several attempts."""
    rank: int | None

    @property
    def source(self) -> str:
        """Who wrote it: `rank 3`, or `batch`."""
        return "batch" if self.rank is None else f"rank {self.rank}"


@dataclass(frozen=True)
class LogLine:
    """A line of a log file."""

    stamp: str
    """`2026-11-24 13:32:23,391`: the time of this line, or of the last one before it."""
    file: LogFile
    text: str


def log_files(run: RunDirectory, rank: int | None, attempts: range) -> list[LogFile]:
    """The logs of some attempts: those of batch scripts first, then those of the ranks.

    Args:
        run: directory of the run.
        rank: take only this rank; None: all ranks and the batch scripts.
        attempts: numbers of the attempts.

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
        LogFile(path, attempt=None, rank=None)
        for path in sorted(paths)
        if (match := _BATCH.fullmatch(path.name)) and (match[1] in jobs or match[1] == "local")
    ]
    return [*batches, *of_ranks]


def _jobs(run: RunDirectory, attempts: range) -> set[str]:
    """Ids of the jobs of these attempts, and of the last job, even if it began no attempt."""
    numbers = attempt_numbers(run)
    jobs = {read_attempt(run, number).job_id for number in numbers if number in attempts}
    if not numbers or numbers[-1] in attempts:
        jobs |= {job.job_id for job in recorded_jobs(run)[-1:]}
    return jobs


class LogReader:
    """Reads the lines of one file; each call continues where the last one ended."""

    def __init__(self, file: LogFile, *, offset: int = 0, stamp: str = "") -> None:
        self._file = file
        self._offset = offset
        self._stamp = stamp

    def lines(self, *, whole: bool) -> Iterator[LogLine]:
        """The new lines.

        Args:
            whole: include a last line that does not end with a newline.

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
        # Opened for each block: a thousand open logs would exceed the limit of open files.
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
            # Lines of one file keep their order, even if a clock is set back.
            self._stamp = max(self._stamp, f"{day} {hour},{fraction}")
        return LogLine(self._stamp, self._file, line.decode("utf-8", "replace"))


def first_stamp(run: RunDirectory, file: LogFile) -> str:
    """The start of the attempt, as the stamp of lines before the first line with a time."""
    if file.attempt is None:
        return ""
    try:
        began = time.localtime(read_attempt(run, file.attempt).started_at)
    except UserError:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S,", began)


def tail_offset(path: Path, lines: int) -> int:
    """The offset at which the last lines of a file begin; found by reading from the end.

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
    """The last line in the log of rank 0, or else of the batch script; empty if there is none."""
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
