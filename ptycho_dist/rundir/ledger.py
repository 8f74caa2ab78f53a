"""The ledger: events as append-only lines of JSON, one file per attempt and writer.

Readers merge the files. Each writer has its own, because several nodes that append to one file
corrupt it on NFS.
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
    """Return the writer's name of a rank: `rank-00003`."""
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
        """Append one event and make it durable.

        If a write fails midway, the partial line stays in the file as a line of its own, which
        readers skip; later events are not affected.

        Raises:
            OSError: the disk refused the write; the event may or may not be in the file.
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
        self._torn = True  # until the whole line is written
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
        with suppress(OSError):  # every event was fsynced, so nothing can be lost
            os.close(self._descriptor)


def read_ledger(
    run: RunDirectory, attempt: int | None = None, writer: str = "*"
) -> list[dict[str, Any]]:
    """Read the events of a run, sorted by time.

    Lines that are not events are skipped. So is a last line without a line break: its writer was
    killed in mid-write or is still writing.

    Args:
        run: its directory.
        attempt: number of the attempt; None: all attempts.
        writer: name of the writer; `*`: all writers.

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
            continue  # torn, or not written by a LedgerWriter
        if (
            isinstance(event, dict)
            and number(event, "time") is not None
            and {"event", "writer"} <= event.keys()
        ):
            yield event
