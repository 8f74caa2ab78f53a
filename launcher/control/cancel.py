"""Ends runs on request: the ranks stop by themselves with a checkpoint, or are killed."""

from __future__ import annotations

import getpass
import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from launcher.control.submission import settle
from launcher.slurm.jobs import Scheduler
from launcher.slurm.scancel import cancel_job
from launcher.status.run_status import RunStatus, status_of
from ptycho_dist.attempts.processes import LocalProcess
from ptycho_dist.attempts.record import read_attempts
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.heartbeat import read_heartbeats
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import LAUNCHER, LedgerWriter

POLITE_S = 22
"""Seconds in which ranks may write a checkpoint and leave; then they are killed."""
KILLED_S = 6
"""Seconds in which killed ranks must have ended."""
POLL_S = 0.3


def cancel(run: RunDirectory) -> RunStatus:
    """Cancel a run and wait, at most 30 s, until every rank has ended.

    Raises:
        UserError: there is nothing to cancel, or something is alive even after the kill.
        ClusterUnreachable: SLURM does not answer.
    """
    scheduler = Scheduler()
    settle([run], scheduler)
    status = status_of(run, scheduler)
    if status.over or status.job_id is None:
        raise UserError(f"{run.run_id} is {status.state}: {status.cause}; nothing to cancel")
    (ended,) = cancel_all([(run, status)])
    return ended


def cancel_all(
    alive: Sequence[tuple[RunDirectory, RunStatus]], *, whole_array: bool = False
) -> list[RunStatus]:
    """Cancel runs together: all are asked to stop at once, and those that do not are killed.

    Args:
        alive: the runs with their states; each has a job.
        whole_array: whether they are all living members of an array that is cancelled as a whole.

    Raises:
        UserError: a run is on another machine, or alive even after the kill.
        ClusterUnreachable: SLURM does not answer.
    """
    for _, status in alive:
        _require_reach(status)
    whole = {"whole_array": True} if whole_array else {}
    for run, status in alive:
        _note(run, status, "cancel_requested", by=getpass.getuser(), **whole)
    _ask_to_stop(alive)
    ended = _wait(alive, POLITE_S, whole)
    left = [(run, status) for run, status in ended if not status.over]
    if left:
        for run, status in left:
            _note(run, status, "kill_requested")
        _kill(left)
        after = {run.path: status for run, status in _wait(left, KILLED_S, whole)}
        ended = [(run, after.get(run.path, status)) for run, status in ended]
    for run, status in ended:
        # A run may have finished before the request reached it; the ledger then says so.
        _note(run, status, status.state if status.over else "cancel_failed")
    still = [status for _, status in ended if not status.over]
    if still:
        names = ", ".join(f"{status.run_id} is still {status.state}" for status in still[:5])
        more = f" and {len(still) - 5} more" if len(still) > 5 else ""
        raise UserError(f"{names}{more} after {POLITE_S + KILLED_S} s; try again, or ask the site")
    return [status for _, status in ended]


def _note(run: RunDirectory, status: RunStatus, event: str, **fields: Any) -> None:
    with LedgerWriter(run, status.attempts, LAUNCHER) as ledger:
        ledger.append(event, job_id=status.job_id, **fields)


def _require_reach(status: RunStatus) -> None:
    if status.cluster == "local" and not LocalProcess.parse(str(status.job_id)).here:
        machine = LocalProcess.parse(str(status.job_id)).machine
        raise UserError(f"{status.run_id} runs on {machine}; cancel it there")


def _ask_to_stop(alive: Sequence[tuple[RunDirectory, RunStatus]]) -> None:
    """Signal the ranks alone, because srun answers TERM by killing them in the middle of a step."""
    of_slurm = [status for _, status in alive if status.cluster == "slurm"]
    # Jobs that wait come first, so that none starts on the nodes that another one leaves.
    waiting = [str(status.job_id) for status in of_slurm if status.state == "pending"]
    cancel_job(*waiting)
    at_work = [str(status.job_id) for status in of_slurm if status.state != "pending"]
    cancel_job(*at_work, signal="TERM")
    for run, status in alive:
        if status.cluster == "local" and not _waits_for_its_turn(run, status):
            process = LocalProcess.parse(str(status.job_id))
            if process.alive:
                os.kill(process.pid, signal.SIGTERM)


def _waits_for_its_turn(run: RunDirectory, status: RunStatus) -> bool:
    """Whether a run is a member of an array on this machine that has not begun.

    Its job is the process that runs the other members as well; that process leaves out members
    whose ledger says that they are cancelled.
    """
    begun = any(record.job_id == status.job_id for record in read_attempts(run))
    return run.array_id is not None and status.state == "pending" and not begun


def _kill(alive: Sequence[tuple[RunDirectory, RunStatus]]) -> None:
    of_slurm = [str(status.job_id) for _, status in alive if status.cluster == "slurm"]
    cancel_job(*of_slurm, signal="KILL")  # the ranks; the script then records the end
    cancel_job(*of_slurm)
    for run, status in alive:
        if status.cluster == "slurm" or _waits_for_its_turn(run, status):
            continue
        process = LocalProcess.parse(str(status.job_id))
        pids = [h.pid for h in read_heartbeats(run).values() if h.attempt == status.attempts]
        for pid in [*([process.pid] if process.alive else []), *pids]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _wait(
    alive: Sequence[tuple[RunDirectory, RunStatus]], seconds: float, whole: dict[str, bool]
) -> list[tuple[RunDirectory, RunStatus]]:
    """Wait until all runs are over, at most `seconds`; a run that got a new job is asked again."""
    # Judging many runs takes time, during which the answer of SLURM must stay valid.
    scheduler = Scheduler(every_s=2.0 + len(alive) / 100)
    deadline = time.monotonic() + seconds
    now = dict.fromkeys(range(len(alive)))
    statuses = [status for _, status in alive]
    while True:
        scheduler.learn([str(statuses[i].job_id) for i in now if statuses[i].cluster == "slurm"])
        for place in list(now):
            run, before = alive[place][0], statuses[place]
            statuses[place] = status = status_of(run, scheduler)
            if status.over:
                del now[place]
            elif status.job_id != before.job_id:
                _note(run, status, "cancel_requested", by=getpass.getuser(), **whole)
                _ask_to_stop([(run, status)])
        if not now or time.monotonic() > deadline:
            return [(run, status) for (run, _), status in zip(alive, statuses, strict=True)]
        time.sleep(POLL_S)
