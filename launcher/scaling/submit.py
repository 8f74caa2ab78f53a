"""PlannedStudy → a directory with a run directory per point, and a chain of jobs."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from launcher.arrays.submit import ArraySubmission, prepare_array
from launcher.control.handover import Handover, UncertainSubmission
from launcher.control.lanes import lane_options
from launcher.control.submission import settle
from launcher.control.submit import ctrl_c_waits, hand_over, require_cluster
from launcher.scaling.plan import PlannedStudy
from launcher.scaling.study_json import study_record
from launcher.slurm.jobs import Scheduler
from launcher.status.submission_record import job_count
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory, Indices, Member


def submit_study(planned: PlannedStudy, cluster: str, runs_root: Path) -> ArraySubmission:
    """Make the directories of all points, then submit them; where nothing is submitted nothing is
    left. Ctrl-C meanwhile ends the submitting after the job at hand.

    Args:
        planned: the study.
        cluster: `slurm` or `local`.
        runs_root: where its directory shall be.

    Raises:
        UserError: the scheduler refuses a job, or the local cluster cannot hold a point.
        ClusterUnreachable: SLURM does not answer.
    """
    largest = max((member.plan for member in planned.members), key=lambda plan: plan.world.nodes)
    require_cluster(cluster, largest)
    with ctrl_c_waits() as pressed:
        array = prepare_array(planned.array, runs_root, {"study.json": study_record(planned.study)})
        _, members = array.read()
        try:
            job_ids = hand_over_points(array, members, cluster, planned.at_once, pressed)
        except UncertainSubmission:
            raise
        except BaseException:
            if not _anything_submitted(array, members):
                shutil.rmtree(array.path, ignore_errors=True)
            raise
    count = len(members) if cluster == "local" else len(job_ids)
    return ArraySubmission(array, job_ids, cluster, count, bool(pressed))


def _anything_submitted(array: ArrayDirectory, members: Sequence[Member]) -> bool:
    settle([array], Scheduler(every_s=60))
    return job_count(array) > 0 or any(job_count(member.run) for member in members)


def hand_over_points(
    array: ArrayDirectory,
    members: Sequence[Member],
    cluster: str,
    at_once: int,
    pressed: Sequence[int] = (),
) -> list[str]:
    """Submit points, in their order; returns the ids of their jobs.

    Args:
        array: the directory of the study.
        members: the points.
        cluster: `slurm`: a job for each, in `at_once` chains; `local`: one process for all.
        at_once: how many may run beside each other.
        pressed: Ctrl-C, noted meanwhile: no further job is handed over.

    Raises:
        UserError: one is refused; those before it stay submitted, and the message says so.
    """
    if cluster == "local":
        return [_hand_over_here(array, members, job_count(array))]
    job_ids: list[str] = []
    for place, member in enumerate(members):
        if pressed:
            break
        job = Handover.of_run(member.run, lane_options(array, place % at_once))
        known_jobs = job_count(member.run)
        try:
            job_ids.append(hand_over(member.run, job, cluster, known_jobs=known_jobs))
        except UncertainSubmission as error:
            raise UncertainSubmission(
                f"{error}; the job of {member.run.run_id} may be queued all the same, those after "
                f"it are not: ptycho-launch status {array.array_id} finds it or says that there "
                f"is none, then `ptycho-launch resume {array.array_id}` submits the rest"
            ) from None
        except UserError as error:
            if not job_ids:
                raise
            done = Indices.of([each.index for each in members[:place]])
            raise type(error)(
                f"{error}; points {done} of {array.array_id} are submitted, the others are not: "
                f"`ptycho-launch resume {array.array_id}` submits them"
            ) from None
    return job_ids


def _hand_over_here(array: ArrayDirectory, members: Sequence[Member], known_jobs: int) -> str:
    """One process, which runs them one after another."""
    indices = Indices.of([member.index for member in members])
    start = [str(array.code)] if array.code.is_dir() else ["-m"]
    module = ["ptycho_dist.runtime.local_array", str(array.path), str(indices)]
    program = (sys.executable, "-u", *start, *module)
    job = Handover(
        directory=array.path,
        script=array.script(known_jobs),
        text=f"#!/bin/sh\n# The points, one after another.\nexec {shlex.join(program)}\n",
        program=program,
        log=array.logs / "batch-local.log",
    )
    return hand_over(array, job, "local", {"base": 0, "indices": str(indices)}, known_jobs)
