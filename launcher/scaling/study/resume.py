"""Resumes the points of a study that have not finished."""

from __future__ import annotations

from functools import partial

from launcher.arrays.handover import ArraySubmission, submit_again
from launcher.control.changes import Changes
from launcher.control.code_state import OwnCode
from launcher.control.resume import make_ready
from launcher.control.submission import settle
from launcher.control.submit import require_cluster
from launcher.scaling.study.study_json import lanes_of, read_study
from launcher.scaling.study.submit import jobs_of_points
from launcher.slurm.jobs import Scheduler
from launcher.status.array_status import array_status
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory

_ALIVE = ("running", "pending")


def resume_study(array: ArrayDirectory, cluster: str | None, changes: Changes) -> ArraySubmission:
    """Submit the points that are over without having finished, or were never submitted.

    They keep their order and wait behind the points that are still to run. Points that were
    cancelled by name are among them, since a repeat counts as a block only if it is whole.

    Args:
        array: the directory of the study.
        cluster: `slurm` or `local`; None: the same as before.
        changes: made to each of the points, as to a single run.

    Raises:
        UserError: there is no such point, or one cannot be resumed.
        ConfigError: the changed config is not valid.
    """
    study = read_study(array)
    cluster = cluster or study.cluster
    scheduler = Scheduler(every_s=60)
    settle([array], scheduler)
    found = array_status(array, scheduler)
    chosen = [
        each
        for each in found.members
        if each.status.state == "prepared" or (each.status.over and each.status.state != "finished")
    ]
    if not chosen:
        raise UserError(f"{array.array_id} has nothing to resume ({found.summary})")
    alive = [each.status.run_id for each in found.members if each.status.state in _ALIVE]
    if alive and cluster == "local":
        raise UserError(
            f"{alive[0]} is not over ({found.summary}): on one machine points would run beside "
            "each other; resume when all are over, or cancel the study first"
        )
    code = OwnCode()
    ready = [make_ready(each.member.run, each.status, changes, code) for each in chosen]
    require_cluster(cluster, max((each.plan for each in ready), key=lambda plan: plan.world.nodes))
    jobs = partial(
        jobs_of_points,
        members=[each.member for each in chosen],
        cluster=cluster,
        at_once=lanes_of(array),
        frozen=ready[0].plan.snapshot,
    )
    return submit_again(array, ready, cluster, jobs)
