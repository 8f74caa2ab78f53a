"""What the ranks of a run said: the log files of one attempt, whole or as they grow."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

from launcher.scheduler import Scheduler
from launcher.status import status_of
from launcher.watch import ASK_SCHEDULER_S
from ptycho_dist.errors import UserError
from ptycho_dist.rundir import RunDirectory, read_attempts

POLL_S = 0.5
_RANK = re.compile(r"attempt-\d+-rank-(\d+)\.log")


def log_lines(run: RunDirectory, rank: int | None, follow: bool) -> Iterator[str]:
    """Lines of the latest attempt, each with its rank where all are shown.

    Args:
        run: its directory.
        rank: one rank alone; None: all, and the batch script's own log first.
        follow: go on until the run is over.

    Raises:
        UserError: there is no such log.
    """
    offsets: dict[Path, int] = {}
    scheduler = Scheduler(ASK_SCHEDULER_S)
    while True:
        over = (
            not follow or status_of(run, scheduler).over
        )  # asked before reading: nothing is missed
        files = _files(run, rank)
        if not files and not follow:
            which = "logs" if rank is None else f"log of rank {rank}"
            raise UserError(f"{run.run_id} has no {which} yet")
        for path in files:
            yield from _new_lines(path, offsets, prefix=rank is None, whole=over)
        if over:
            return
        time.sleep(POLL_S)


def _files(run: RunDirectory, rank: int | None) -> list[Path]:
    attempts = read_attempts(run)
    number = attempts[-1]["number"] if attempts else 0
    ranks = sorted(run.logs.glob(f"attempt-{number:03d}-rank-*.log"))
    if rank is not None:
        return [path for path in ranks if path == run.rank_log(number, rank)]
    return [*sorted(run.logs.glob("batch-*.log")), *ranks]


def _new_lines(path: Path, offsets: dict[Path, int], prefix: bool, whole: bool) -> Iterator[str]:
    """Complete lines since the last call; at the end also a line without its end."""
    with path.open("rb") as file:
        file.seek(offsets.get(path, 0))
        block = file.read()
    if not whole:
        block = block[: block.rfind(b"\n") + 1]
    offsets[path] = offsets.get(path, 0) + len(block)
    match = _RANK.fullmatch(path.name)
    label = f"[rank {int(match[1])}] " if match else "[batch] "
    for line in block.decode("utf-8", errors="replace").splitlines():
        yield (label if prefix else "") + line
