"""Going on with the points of a study that have not finished, alone."""

from __future__ import annotations

from launcher.arrays.submit import ArraySubmission
from launcher.control.code_state import OwnCode
from launcher.control.resume import Changes, make_ready
from launcher.control.submission import settle
from launcher.control.submit import ctrl_c_waits, require_cluster
from launcher.scaling.study_json import lanes_of, read_study
from launcher.scaling.submit import hand_over_points
from launcher.slurm.jobs import Scheduler
from launcher.status.array_status import array_status
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory


def resume_study(array: ArrayDirectory, cluster: str | None, changes: Changes) -> ArraySubmission:
    """Submit the points that are over without having finished, or were never submitted, in their
    order, behind those that are still to come.

    Those that were cancelled by name are among them: a repeat is whole or it is no block.

    Args:
        array: the directory of the study.
        cluster: `slurm` or `local`; None: as before.
        changes: for each of the points, as for a single run.

    Raises:
        UserError: there is none, or one cannot go on.
        ConfigError: the changed config is no sound one.
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
    require_cluster(cluster, max((each.plan for each in ready), key=lambda p: p.world.nodes))
    members = [each.member for each in chosen]
    with ctrl_c_waits() as pressed:
        for each in ready:
            each.write()
        job_ids = hand_over_points(array, members, cluster, lanes_of(array), pressed)
    count = len(members) if cluster == "local" else len(job_ids)
    return ArraySubmission(array, job_ids, cluster, count, bool(pressed))


_ALIVE = ("running", "pending")
