"""Hands over the jobs of an array or a study, one after another.

An array is submitted as a few job arrays, a study as one job for each of its points. This module
holds what both need: nothing is left behind if no job was submitted; a refusal or Ctrl-C in the
middle leaves the jobs before it submitted, and `resume` submits the rest.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.arrays.plan import ArrayPlan
from launcher.arrays.prepare import prepare_array
from launcher.control.handover import Handover, UncertainSubmission
from launcher.control.resume import Ready
from launcher.control.submission import settle
from launcher.control.submit import ctrl_c_waits, hand_over
from launcher.slurm.jobs import Scheduler
from launcher.status.next_command import reference_to
from launcher.status.submission_record import job_count
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory, Indices
from ptycho_dist.rundir.layout import RunDirectory


@dataclass(frozen=True)
class MemberJob:
    """A job that is about to be handed over, and the members that it runs."""

    directory: RunDirectory | ArrayDirectory
    """The array, or the one member that the job runs: whose submission.json records it."""
    handover: Handover
    indices: Indices
    """Indices of the members that it runs."""
    known_jobs: int
    """Number of jobs that `directory` had when it was decided to submit."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What submission.json keeps of the job beside its id, cluster and time."""


Jobs = Callable[[ArrayDirectory], Iterable[MemberJob]]
"""Gives the jobs of an array in the order in which they are handed over."""


@dataclass(frozen=True)
class ArraySubmission:
    """The jobs of an array that were handed over."""

    array: ArrayDirectory
    job_ids: list[str]
    cluster: str
    members: int
    """Number of members that were submitted."""
    left: int
    """Number of members that were to be submitted and were not, because of Ctrl-C."""
    interrupted: bool
    """Whether Ctrl-C was pressed meanwhile; the jobs in `job_ids` are submitted all the same."""


def submit_new(
    plan: ArrayPlan,
    cluster: str,
    runs_root: Path,
    jobs: Jobs,
    records: Mapping[str, Any] | None = None,
) -> ArraySubmission:
    """Make the directory of a new array and hand its jobs over.

    Args:
        plan: of the array.
        cluster: `slurm` or `local`.
        runs_root: the directory that receives the array.
        jobs: gives its jobs.
        records: further JSON files beside array.json, by their names.

    Raises:
        UserError: a job is refused. If it was the first, the directory is removed again; else the
            message says which members are submitted.
        ClusterUnreachable: SLURM does not answer.
    """
    with ctrl_c_waits() as pressed:
        array = prepare_array(plan, runs_root, records)
        try:
            return _hand_over(array, jobs(array), cluster, len(plan.members), pressed)
        except UncertainSubmission:
            raise
        except BaseException:
            if not _anything_submitted(array):
                shutil.rmtree(array.path, ignore_errors=True)
            raise


def submit_again(
    array: ArrayDirectory, ready: Sequence[Ready], cluster: str, jobs: Jobs
) -> ArraySubmission:
    """Write the new plans of members that resume, and hand their jobs over.

    Args:
        array: their array.
        ready: the members, checked and planned anew.
        cluster: `slurm` or `local`.
        jobs: gives the jobs of these members.

    Raises:
        UserError: a job is refused; the message says which members are submitted.
        ClusterUnreachable: SLURM does not answer.
    """
    with ctrl_c_waits() as pressed:
        for each in ready:
            each.write()
        return _hand_over(array, jobs(array), cluster, len(ready), pressed)


def local_job(
    array: ArrayDirectory, indices: Indices, known_jobs: int, *, frozen: bool
) -> MemberJob:
    """The one process that runs members on this machine, one after another.

    Args:
        array: their array.
        indices: of the members.
        known_jobs: number of jobs that the array had when it was decided to submit.
        frozen: whether the members run the copy of the code that lies in the array's directory.
    """
    start = str(array.code) if frozen and array.code.is_dir() else "-m"
    module = ("ptycho_dist.runtime.local_array", str(array.path), str(indices))
    program = (sys.executable, "-u", start, *module)
    handover = Handover(
        directory=array.path,
        script=array.script(known_jobs),
        text=f"#!/bin/sh\n# Runs the members one after another.\nexec {shlex.join(program)}\n",
        program=program,
    )
    record = {"base": 0, "indices": str(indices)}
    return MemberJob(array, handover, indices, known_jobs, record)


def _hand_over(
    array: ArrayDirectory,
    jobs: Iterable[MemberJob],
    cluster: str,
    wanted: int,
    pressed: Sequence[int],
) -> ArraySubmission:
    """Hand one job over after the other, until the last, a refusal or Ctrl-C.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed before the first job, so that nothing is submitted.
    """
    job_ids: list[str] = []
    submitted: list[int] = []
    reference = reference_to(array.path)
    for job in jobs:
        if pressed and not job_ids:
            raise KeyboardInterrupt
        if pressed:
            break
        try:
            job_id = hand_over(job.directory, job.handover, cluster, job.record, job.known_jobs)
        except UncertainSubmission as error:
            raise UncertainSubmission(
                f"{error}; the job of members {job.indices} may be queued all the same, and no job "
                f"after it is: `ptycho-launch status {reference}` finds it or says that there is "
                f"none, then `ptycho-launch resume {reference}` submits the rest"
            ) from None
        except UserError as error:
            if not job_ids:
                raise
            raise type(error)(
                f"{error}; members {Indices.of(submitted)} of {array.array_id} are submitted, the "
                f"others are not: `ptycho-launch resume {reference}` submits them"
            ) from None
        job_ids.append(job_id)
        submitted += job.indices
    left = wanted - len(submitted)
    return ArraySubmission(array, job_ids, cluster, len(submitted), left, bool(pressed))


def _anything_submitted(array: ArrayDirectory) -> bool:
    """Whether the array or one of its members has a job."""
    settle([array], Scheduler(every_s=60))
    _, members = array.read()
    return job_count(array) > 0 or any(job_count(member.run) for member in members)
