"""Ending a run on request: the ranks stop by themselves if they can, and are killed if not."""

from __future__ import annotations

import getpass
import os
import signal
import time
from contextlib import suppress

from launcher.scheduler import cancel_job
from launcher.status import RunStatus, status_of
from ptycho_dist.errors import UserError
from ptycho_dist.rundir import LedgerWriter, RunDirectory, read_heartbeats
from ptycho_dist.rundir.ledger import LAUNCHER
from ptycho_dist.rundir.processes import start_time

POLITE_S = 22
"""Ranks checkpoint and leave within this; then they are killed."""
KILLED_S = 6
POLL_S = 0.3


def cancel(run: RunDirectory) -> RunStatus:
    """Cancel a run and wait, at most 30 s, until every rank has ended.

    Raises:
        UserError: there is nothing to cancel, or something is still alive after it all.
        ClusterUnreachable: SLURM does not answer.
    """
    status = status_of(run)
    if status.over or status.job_id is None:
        raise UserError(f"{run.run_id} is {status.state}: {status.cause}; nothing to cancel")
    with LedgerWriter(run, status.attempts, LAUNCHER) as ledger:
        ledger.append("cancel_requested", job_id=status.job_id, by=getpass.getuser())
        _end(status, kill=False)
        ended = _wait(run, POLITE_S)
        if not ended.over:
            ledger.append("kill_requested", job_id=status.job_id)
            _end(status, kill=True)
            ended = _wait(run, KILLED_S)
        ledger.append("cancelled" if ended.over else "cancel_failed", job_id=status.job_id)
    if not ended.over:
        raise UserError(f"{run.run_id} is still {ended.state} after {POLITE_S + KILLED_S} s")
    return ended


def _end(status: RunStatus, kill: bool) -> None:
    job_id = str(status.job_id)
    if status.cluster == "slurm":
        cancel_job(job_id, "KILL" if kill else None)
        return
    with suppress(ProcessLookupError):
        if kill:
            os.killpg(int(job_id), signal.SIGKILL)  # the local cluster leads its own session
        else:
            os.kill(int(job_id), signal.SIGTERM)


def _wait(run: RunDirectory, seconds: float) -> RunStatus:
    deadline = time.monotonic() + seconds
    while True:
        status = status_of(run)
        if (status.over and not _local_ranks_alive(run, status)) or time.monotonic() > deadline:
            return status
        time.sleep(POLL_S)


def _local_ranks_alive(run: RunDirectory, status: RunStatus) -> bool:
    if status.cluster != "local":
        return False
    return any(
        heartbeat.attempt == status.attempts and start_time(heartbeat.pid) is not None
        for heartbeat in read_heartbeats(run).values()
    )
