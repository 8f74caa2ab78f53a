"""What happened: append-only lines of JSON, one file per attempt and writer, merged by readers.

Several nodes appending to one file corrupt it on NFS; each writer therefore has its own.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from ptycho_dist.errors import UserError
from ptycho_dist.rundir.checked_json import number
from ptycho_dist.rundir.layout import RunDirectory

LAUNCHER = "launcher"


def rank_writer(rank: int) -> str:
    """The writer's name of a rank: `rank-00003`."""
    return f"rank-{rank:05d}"


class LedgerWriter:
    """The ledger file of one writer in one attempt; a context manager."""

    def __init__(self, run: RunDirectory, attempt: int, writer: str) -> None:
        self._attempt = attempt
        self._writer = writer
        path = run.ledger / f"{attempt:03d}-{writer}.jsonl"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        size = os.fstat(self._descriptor).st_size
        self._torn = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"

    def append(self, event: str, **fields: Any) -> None:
        """Add one event and make it durable; one write call, so that a line is never split.

        What the disk took of an event that failed stays as a line of its own, which readers
        leave out: it never spoils an event that comes later.

        Raises:
            OSError: the disk refused. The event may be in the file or not.
        """
        record = {
            "time": time.time(),
            "attempt": self._attempt,
            "writer": self._writer,
            "event": event,
            **fields,
        }
        line = (json.dumps(record, allow_nan=False) + "\n").encode()
        if self._torn:
            line = b"\n" + line
        self._torn = True  # until the line has its end
        while line:
            line = line[os.write(self._descriptor, line) :]
        self._torn = False
        os.fsync(self._descriptor)

    def __enter__(self) -> LedgerWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # every event was fsynced: there is nothing left to lose
            os.close(self._descriptor)


def read_ledger(
    run: RunDirectory, attempt: int | None = None, writer: str = "*"
) -> list[dict[str, Any]]:
    """All events, or those of one attempt or one writer, in the order of their clocks.

    A last line without its end is a writer that was killed in mid-write, or is at work: it is
    left out, and so is every other line that is not an event.

    Raises:
        UserError: a file of the ledger cannot be read.
    """
    pattern = f"{'*' if attempt is None else f'{attempt:03d}'}-{writer}.jsonl"
    events = [event for path in sorted(run.ledger.glob(pattern)) for event in _events(path)]
    return sorted(events, key=lambda event: float(event["time"]))


def _events(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    for line in lines[:-1]:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue  # torn, or nothing that a LedgerWriter wrote
        if (
            isinstance(event, dict)
            and number(event, "time") is not None
            and {"event", "writer"} <= event.keys()
        ):
            yield event
