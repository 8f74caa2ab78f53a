"""Submits a run: makes its directory, hands its job over, and records which job it is."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from launcher.control.after import dependency_options
from launcher.control.code_state import OwnCode
from launcher.control.handover import Handover, UncertainSubmission, submit_script
from launcher.control.submission import drop_intent, record_intent, record_job, submitting
from launcher.planning.plan import LaunchPlan
from launcher.planning.script import render
from launcher.slurm.scancel import cancel_job
from launcher.slurm.scontrol import require_slurm
from launcher.status.next_command import reference_to
from ptycho_dist.attempts.processes import LocalProcess
from ptycho_dist.config.load import LoadedConfig
from ptycho_dist.data.planned import planned_fingerprints
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.frozen import write_code
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.listing import absolute
from ptycho_dist.rundir.making import new_run_path, prepare_run
from ptycho_dist.rundir.run_plan import FrozenCode


@dataclass(frozen=True)
class Submission:
    """The job of a run that was handed over."""

    run: RunDirectory
    job_id: str
    cluster: str
    interrupted: bool
    """Whether Ctrl-C was pressed meanwhile; the job is submitted all the same."""


def choose_cluster(asked: str | None) -> str:
    """The cluster asked for; without one `slurm` where sbatch is on PATH, else `local`."""
    return asked or ("slurm" if shutil.which("sbatch") else "local")


def prepare(loaded: LoadedConfig, plan: LaunchPlan, runs_root: Path) -> RunDirectory:
    """Make the run directory with its script; nothing is submitted.

    Raises:
        UserError: the directory cannot be written, or the code cannot be read.
    """
    path = new_run_path(absolute(runs_root), plan.name)
    code = OwnCode()
    record = replace(
        plan.run_plan(),
        data=planned_fingerprints(loaded.config),
        code=FrozenCode(code.digest) if plan.snapshot else None,
    )

    def add(run: RunDirectory) -> None:
        code.record(run)
        if plan.snapshot:
            write_code(run.code, code.files)

    return prepare_run(path, loaded, record, render(plan, path), add)


def submit(
    loaded: LoadedConfig,
    plan: LaunchPlan,
    cluster: str,
    runs_root: Path,
    after: Sequence[RunDirectory | ArrayDirectory] = (),
) -> Submission:
    """Make a run directory and submit it; if it is refused, nothing is left behind.

    Args:
        loaded: the checked config.
        plan: its plan.
        cluster: `slurm` or `local`.
        runs_root: the directory that receives the run.
        after: runs and arrays that must have finished before it starts.

    Raises:
        UserError: the scheduler refuses the job, or the local cluster cannot hold it.
        ClusterUnreachable: SLURM does not answer.
    """
    require_cluster(cluster, plan)
    waits_for = dependency_options(after, cluster)
    with ctrl_c_waits() as pressed:
        run = prepare(loaded, plan, runs_root)
        try:
            job_id = hand_over(run, Handover.of_run(run, waits_for), cluster)
        except UncertainSubmission as error:
            raise UncertainSubmission(
                f"{error}; the job may be queued all the same, so its run directory stays: "
                f"`ptycho-launch status {reference_to(run.path)}` finds the job or says that there "
                "is none"
            ) from None
        except BaseException:
            shutil.rmtree(run.path, ignore_errors=True)
            raise
    return Submission(run, job_id, cluster, bool(pressed))


def submit_prepared(
    run: RunDirectory, cluster: str, known_jobs: int = 0, options: Sequence[str] = ()
) -> Submission:
    """Submit the script of an existing run directory.

    Args:
        run: its directory.
        cluster: `slurm` or `local`.
        known_jobs: how many jobs it had when it was decided to submit.
        options: of sbatch, beside those in the script.

    Raises:
        UserError: the scheduler refuses the job, or another command submitted it meanwhile.
        ClusterUnreachable: SLURM does not answer.
    """
    with ctrl_c_waits() as pressed:
        job_id = hand_over(run, Handover.of_run(run, options), cluster, known_jobs=known_jobs)
    return Submission(run, job_id, cluster, bool(pressed))


def hand_over(
    directory: RunDirectory | ArrayDirectory,
    job: Handover,
    cluster: str,
    what: Mapping[str, Any] | None = None,
    known_jobs: int = 0,
) -> str:
    """Submit a job so that its directory knows it, whenever this process may be killed (LP-220).

    Args:
        directory: the run or the array whose submission.json records the job.
        job: what to hand over.
        cluster: `slurm` or `local`.
        what: what the record keeps of the job beside its id, cluster and time; `comment` is the
            comment of the SLURM job.
        known_jobs: number of jobs that the directory had when it was decided to submit.

    Raises:
        UserError: the job is refused, or another command submitted it meanwhile.
        UncertainSubmission: the answer was lost; the intent stays in the record, and the next
            command that settles it asks SLURM for the job.
    """
    with submitting(directory, known_jobs) as lock:
        job.write_script()
        record_intent(directory, cluster, what or {})
        try:
            job_id = submit_script(job, cluster, lock)
        except UncertainSubmission:
            raise
        except BaseException:
            with suppress(OSError):  # the next reader of the intent finds that there is no job
                drop_intent(directory)
            raise
        try:
            record_job(directory, job_id)
        except OSError as error:
            if cluster == "slurm":
                cancel_job(job_id)
            else:
                os.kill(LocalProcess.parse(job_id).pid, signal.SIGTERM)
            raise UserError(f"the job cannot be recorded, and was taken back: {error}") from None
    return job_id


def require_cluster(cluster: str, plan: LaunchPlan) -> None:
    """Check that a cluster is there and can hold the ranks of a plan.

    Raises:
        UserError: it cannot hold them, or SLURM does not answer.
    """
    if cluster == "slurm":
        require_slurm()
        return
    nodes, place = plan.world.nodes, plan.config.environment
    if nodes > 1:
        raise UserError(
            f"resources.nodes: {nodes}, but the local cluster is this one machine; "
            "use --set resources.nodes=1, or --cluster slurm"
        )
    if place.container is not None and shutil.which(place.container_runtime) is None:
        runtime = place.container_runtime
        advice = "; it is a plugin of srun, use apptainer" if runtime == "pyxis" else ""
        raise UserError(f"environment.container_runtime: {runtime} is not on PATH here{advice}")


@contextmanager
def ctrl_c_waits() -> Iterator[list[int]]:
    """Hold Ctrl-C back until job and record belong together.

    Yields:
        A list that receives an element each time Ctrl-C is pressed.
    """
    pressed: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, previous)
