"""Ends the members of an array that are still alive."""

from __future__ import annotations

from launcher.control.cancel import cancel_all
from launcher.control.submission import settle
from launcher.slurm.jobs import Scheduler
from launcher.status.array_status import array_status
from launcher.status.run_status import RunStatus
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory


def cancel_array(array: ArrayDirectory) -> list[RunStatus]:
    """Cancel all members that are not over, and wait until they have ended (at most 30 s).

    Returns:
        How each of them ended.

    Raises:
        UserError: there is nothing to cancel, or a member is still alive at the end.
        ClusterUnreachable: SLURM does not answer.
    """
    scheduler = Scheduler(every_s=60)
    settle([array], scheduler)
    found = array_status(array, scheduler)
    alive = [
        (each.member.run, each.status)
        for each in found.members
        if not each.status.over and each.status.job_id is not None
    ]
    if not alive:
        raise UserError(f"{array.array_id} is over ({found.summary}); nothing to cancel")
    return cancel_all(alive, whole_array=True)
