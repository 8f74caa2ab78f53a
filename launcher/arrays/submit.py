"""Submits an array: a directory with a run directory for each member, and its job arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from launcher.arrays.grid import ArrayPart, split
from launcher.arrays.handover import ArraySubmission, MemberJob, local_job, submit_new
from launcher.arrays.plan import ArrayPlan
from launcher.control.after import dependency_options
from launcher.control.handover import Handover
from launcher.control.submit import require_cluster
from launcher.planning.plan import LaunchPlan
from launcher.planning.script import JobArray, render
from launcher.slurm.scontrol import max_array_size
from ptycho_dist.rundir.array import ArrayDirectory, Indices, index_width
from ptycho_dist.rundir.layout import RunDirectory


def submit_array(
    plan: ArrayPlan,
    cluster: str,
    runs_root: Path,
    after: Sequence[RunDirectory | ArrayDirectory] = (),
) -> ArraySubmission:
    """Make the directories of all members, then submit them.

    Args:
        plan: of the array.
        cluster: `slurm` or `local`.
        runs_root: the directory that receives the array.
        after: runs and arrays that must have finished before a member starts.

    Raises:
        UserError: the scheduler refuses a job array, or the local cluster cannot hold a member.
        ClusterUnreachable: SLURM does not answer.
    """
    require_cluster(cluster, plan.shared)
    waits_for = dependency_options(after, cluster)
    members = len(plan.members)
    jobs = partial(
        jobs_of_array,
        parts=parts_for(cluster, range(members), members),
        plan=plan.shared,
        cluster=cluster,
        members=members,
        throttle=plan.throttle,
        options=waits_for,
    )
    return submit_new(plan, cluster, runs_root, jobs)


def parts_for(cluster: str, indices: Sequence[int], members: int) -> list[ArrayPart]:
    """Split members over job arrays; without SLURM one process runs them all.

    Args:
        cluster: `slurm` or `local`.
        indices: of the members to submit.
        members: number of members of the array.

    Raises:
        UserError: this SLURM does not accept job arrays.
    """
    if cluster == "local":
        return [ArrayPart(0, index_width(members), Indices.of(indices))]
    return split(indices, members, max_array_size())


def jobs_of_array(
    array: ArrayDirectory,
    parts: Sequence[ArrayPart],
    plan: LaunchPlan,
    cluster: str,
    *,
    members: int,
    throttle: int | None,
    known_jobs: int = 0,
    options: Sequence[str] = (),
) -> Iterator[MemberJob]:
    """The job arrays, in order; without SLURM the one process that runs all members.

    Args:
        array: its directory.
        parts: what `parts_for` gave.
        plan: that all members share, as far as the script is concerned.
        cluster: `slurm` or `local`.
        members: number of members of the array.
        throttle: how many of a job array may run at once; None: as many as SLURM starts.
        known_jobs: number of jobs that the array had when it was decided to submit.
        options: of sbatch, beside those in the script.
    """
    for number, part in enumerate(parts, known_jobs):
        if cluster == "local":
            yield local_job(array, part.indices, number, frozen=plan.snapshot)
            continue
        handover = Handover(
            directory=array.path,
            script=array.script(number),
            text=script_of(plan, array, part, number=number, members=members, throttle=throttle),
            options=tuple(options),
        )
        record = {
            "base": part.base,
            "indices": str(part.indices),
            "comment": _comment(array, number),
        }
        yield MemberJob(array, handover, part.indices, number, record)


def script_of(
    plan: LaunchPlan,
    array: ArrayDirectory,
    part: ArrayPart,
    *,
    number: int,
    members: int,
    throttle: int | None,
) -> str:
    """The batch script of one job array.

    Args:
        plan: that all members share, as far as the script is concerned.
        array: its directory.
        part: the members of the job array.
        number: of the job array, counted from 0.
        members: number of members of the whole array.
        throttle: how many of the job array may run at once; None: as many as SLURM starts.
    """
    job = JobArray(
        array.stem(index_width(members), part.base, part.digits),
        part.digits,
        part.tasks if throttle is None else f"{part.tasks}%{throttle}",
        _comment(array, number),
    )
    return render(plan, array.path, job)


def _comment(array: ArrayDirectory, number: int) -> str:
    """What SLURM keeps with a job array, so that it is found again by it (LP-225)."""
    return f"{array.array_id}:{number:03d}"
