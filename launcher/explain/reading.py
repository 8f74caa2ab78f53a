"""Reads the two ends of untrusted logs, cleaned of everything that would steer a terminal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from launcher.text.plain_text import plain_line

HEAD_BYTES = 64 * 1024
TAIL_BYTES = 256 * 1024
COUNTED_BYTES = 64 * 1024 * 1024
"""Up to this size, the lines between the two ends are counted to number those of the tail."""
LONGEST_LINE = 300

_LABEL = re.compile(r"^(?:\s*\d+: |\[rank\d+\]:\s?)")  # of `srun --label`, and of torch
_HARMLESS = re.compile(
    r"^\S+ \S+ rank \d+ (?:DEBUG|INFO|WARNING) |Warning: |^\[W|NCCL INFO |^\s{2,}"
)
"""Lines that prove nothing (RD-233). Healthy runs print them too: our own lines below ERROR, and
warnings of Python and torch. The source lines of a traceback may quote any message."""
_TIME = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) rank ")


@dataclass(frozen=True)
class Line:
    """One line of a file in the run directory, or of a command, as evidence."""

    file: str
    """Path inside the run directory, or the command that printed the line."""
    number: int | None
    """Line number from 1; None: unknown (a command, or the tail of a very large file)."""
    text: str

    @property
    def where(self) -> str:
        """Where the line stands: `logs/attempt-001-rank-00003.log:41`."""
        return self.file if self.number is None else f"{self.file}:{self.number}"


@dataclass(frozen=True)
class Log:
    """The two ends of a log."""

    lines: tuple[Line, ...] = ()

    @property
    def telling(self) -> list[Line]:
        """The lines, without those that healthy runs print too."""
        return [line for line in self.lines if line.text and not _HARMLESS.search(line.text)]

    def time_of(self, line: Line) -> float:
        """When a line was written, by the last line up to it that has a time; 0: unknown."""
        found = 0.0
        for each in self.lines:
            stamp = _TIME.match(each.text)
            if stamp:
                written = datetime.strptime(stamp[1], "%Y-%m-%d %H:%M:%S")
                found = written.timestamp() + int(stamp[2]) / 1000
            if each == line:
                break
        return found


def clean(text: str) -> str:
    """A text on one line, without terminal escapes and unprintable characters, and not too long."""
    text = plain_line(text)
    text = "".join(char if char.isprintable() else " " for char in text).rstrip()
    return text if len(text) <= LONGEST_LINE else f"{text[: LONGEST_LINE - 3]}..."


def read_log(root: Path, path: Path, tail_bytes: int = TAIL_BYTES) -> Log:
    """Read both ends of a log; a log that is missing, or is not a plain file, has no lines.

    Args:
        root: the run directory; lines name the file by its path from there.
        path: the log.
        tail_bytes: how many bytes to read at the end.
    """
    name = str(path.relative_to(root))
    try:
        if not path.is_file() or path.is_symlink():
            return Log()
        with path.open("rb") as file:
            size = path.stat().st_size
            if size <= HEAD_BYTES + tail_bytes:
                return Log(_lines(name, file.read(HEAD_BYTES + tail_bytes), 1))
            head = file.read(HEAD_BYTES)
            between = size - HEAD_BYTES - tail_bytes
            first: int | None = None
            if size <= COUNTED_BYTES:
                first = head.count(b"\n") + file.read(between).count(b"\n") + 1
            file.seek(HEAD_BYTES + between)
            tail = file.read(tail_bytes)
    except OSError:
        return Log()
    # The last line of the head and the first one of the tail are cut in two: leave them out.
    return Log((*_lines(name, head, 1)[:-1], *_lines(name, tail, first)[1:]))


def _lines(name: str, block: bytes, first: int | None) -> tuple[Line, ...]:
    texts = block.decode("utf-8", errors="replace").split("\n")
    return tuple(
        Line(name, None if first is None else first + index, clean(_LABEL.sub("", text, count=1)))
        for index, text in enumerate(texts)
    )
