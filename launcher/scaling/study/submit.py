"""Submits a study: a directory with a run directory for each point, and a job for each point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from launcher.arrays.handover import ArraySubmission, MemberJob, local_job, submit_new
from launcher.control.handover import Handover
from launcher.control.lanes import lane_options
from launcher.control.submit import require_cluster
from launcher.scaling.study.plan import PlannedStudy
from launcher.scaling.study.study_json import study_record
from launcher.status.submission_record import job_count
from ptycho_dist.rundir.array import ArrayDirectory, ArrayMember, Indices


def submit_study(planned: PlannedStudy, cluster: str, runs_root: Path) -> ArraySubmission:
    """Make the directories of all points, then submit them.

    Args:
        planned: the study.
        cluster: `slurm` or `local`.
        runs_root: the directory that receives the study.

    Raises:
        UserError: the scheduler refuses a job, or the local cluster cannot hold a point.
        ClusterUnreachable: SLURM does not answer.
    """
    largest = max((member.plan for member in planned.members), key=lambda plan: plan.world.nodes)
    require_cluster(cluster, largest)

    def jobs(array: ArrayDirectory) -> Iterator[MemberJob]:
        _, members = array.read()
        frozen = planned.array.shared.snapshot
        return jobs_of_points(array, members, cluster, planned.at_once, frozen=frozen)

    records = {"study.json": study_record(planned.study)}
    return submit_new(planned.array, cluster, runs_root, jobs, records)


def jobs_of_points(
    array: ArrayDirectory,
    members: Sequence[ArrayMember],
    cluster: str,
    at_once: int,
    *,
    frozen: bool,
) -> Iterator[MemberJob]:
    """A job for each point, in the order of the points; without SLURM one process for all.

    Args:
        array: the directory of the study.
        members: the points.
        cluster: `slurm`: the jobs form `at_once` chains; `local`: one process runs the points.
        at_once: how many points may run at the same time.
        frozen: whether the points run the copy of the code that lies in the study's directory.
    """
    if cluster == "local":
        indices = Indices.of([member.index for member in members])
        yield local_job(array, indices, job_count(array), frozen=frozen)
        return
    for place, member in enumerate(members):
        yield MemberJob(
            directory=member.run,
            handover=Handover.of_run(member.run, lane_options(array, place % at_once)),
            indices=Indices.of([member.index]),
            known_jobs=job_count(member.run),
        )
