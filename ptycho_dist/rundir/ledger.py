"""What happened: append-only lines of JSON, one file per attempt and writer, merged by readers.

Several nodes appending to one file corrupt it on NFS; each writer therefore has its own.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

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
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append(self, event: str, **fields: Any) -> None:
        """Add one event and make it durable; one write call, so that a line is never split."""
        record = {
            "time": time.time(),
            "attempt": self._attempt,
            "writer": self._writer,
            "event": event,
            **fields,
        }
        os.write(self._descriptor, (json.dumps(record, allow_nan=False) + "\n").encode())
        os.fsync(self._descriptor)

    def __enter__(self) -> LedgerWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)


def read_ledger(
    run: RunDirectory, attempt: int | None = None, writer: str = "*"
) -> list[dict[str, Any]]:
    """All events, or those of one attempt or one writer, in the order of their clocks.

    A last line without its end is a writer that was killed in mid-write: it is left out.
    """
    pattern = f"{'*' if attempt is None else f'{attempt:03d}'}-{writer}.jsonl"
    events = [event for path in sorted(run.ledger.glob(pattern)) for event in _events(path)]
    return sorted(events, key=lambda event: float(event.get("time", 0.0)))


def _events(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text("utf-8", errors="replace").splitlines(keepends=True):
        if not line.endswith("\n"):
            return
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event
