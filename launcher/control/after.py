"""`submit --after RUN`: a job that SLURM starts when other runs have finished."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from launcher.control.submission import settle
from launcher.slurm.jobs import Scheduler
from launcher.status.array_status import array_status
from launcher.status.run_status import RunStatus, status_of
from launcher.status.submission_record import job_of_member
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory, Indices
from ptycho_dist.rundir.layout import RunDirectory


def dependency_options(
    runs: Sequence[RunDirectory | ArrayDirectory], cluster: str = "slurm"
) -> list[str]:
    """The options of sbatch that make a job wait for other runs; empty: all have finished.

    The job of a run exits with 0 only when the run has finished, and keeps its id over restarts. If
    it ends otherwise, SLURM removes the job that waits.

    Args:
        runs: runs, and arrays of which every member must finish.
        cluster: where the job that waits will be submitted.

    Raises:
        UserError: one of the runs cannot finish any more, or is not run by a job of this SLURM.
    """
    if runs and cluster == "local":
        raise UserError("--after: the local cluster starts a run at once; use --cluster slurm")
    scheduler = Scheduler(every_s=60)
    settle(runs, scheduler)
    jobs: list[str] = []
    for run in runs:
        if isinstance(run, ArrayDirectory):
            jobs += _jobs_of_array(run, scheduler)
        elif (status := status_of(run, scheduler)).state != "finished":
            jobs.append(_job_to_wait_for(status))
    if not jobs:
        return []
    return [f"--dependency=afterok:{':'.join(jobs)}", "--kill-on-invalid-dep=yes"]


def _job_to_wait_for(status: RunStatus) -> str:
    if status.over or status.job_id is None:
        raise UserError(
            f"--after {status.run_id}: it is {status.state} ({status.cause}); resume it first"
        )
    if status.cluster != "slurm":
        raise UserError(
            f"--after {status.run_id}: it runs on the local cluster, and SLURM cannot wait for "
            "that; submit this run when the other one has finished"
        )
    return status.job_id


def _jobs_of_array(array: ArrayDirectory, scheduler: Scheduler) -> Iterator[str]:
    """The jobs to wait for, so that every member of an array finishes.

    They are the job arrays as a whole, except for those with a member that ended there and runs in
    another job now: SLURM would count that member as a failure of the whole job array. Of these,
    each member is named.
    """
    found = array_status(array, scheduler)
    latest = {each.member.index: each.status.job_id for each in found.members}
    wanted = {
        each.member.index: _job_to_wait_for(each.status)
        for each in found.members
        if each.status.state != "finished"
    }
    for job in found.jobs:
        tasks = {index: job_of_member(job, index) for index in Indices.parse(job["indices"])}
        own = [index for index, task in tasks.items() if wanted.get(index) == task]
        if own and all(latest.get(index) == task for index, task in tasks.items()):
            yield job["job_id"]
        else:
            yield from (tasks[index] for index in own)
        for index in own:
            del wanted[index]
    yield from wanted.values()  # members that were resumed one by one
