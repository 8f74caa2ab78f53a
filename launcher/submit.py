"""LaunchPlan → Submission: a run directory, a job, and the record that ties them together."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from launcher.code_state import own_code_files, record_code
from launcher.dependency import dependency_options
from launcher.executors import UncertainSubmission, submit_script
from launcher.plan import LaunchPlan
from launcher.render import render
from launcher.scheduler import cancel_job, require_slurm
from ptycho_dist.config.load import LoadedConfig
from ptycho_dist.errors import UserError
from ptycho_dist.rundir import RunDirectory, prepare_run
from ptycho_dist.rundir.files import read_json, write_json_atomic
from ptycho_dist.rundir.frozen import code_digest, write_code
from ptycho_dist.rundir.layout import new_run_path
from ptycho_dist.rundir.planned import planned_fingerprints
from ptycho_dist.rundir.processes import LocalProcess


@dataclass(frozen=True)
class Submission:
    """A job that was handed over."""

    run: RunDirectory
    job_id: str
    cluster: str
    interrupted: bool
    """Ctrl-C was pressed meanwhile; the job is submitted all the same."""


def choose_cluster(asked: str | None) -> str:
    """`slurm` or `local`: what was asked for, else SLURM where there is one on PATH."""
    return asked or ("slurm" if shutil.which("sbatch") else "local")


def prepare(loaded: LoadedConfig, plan: LaunchPlan, runs_root: Path) -> RunDirectory:
    """Make the run directory with its script; nothing is submitted.

    Raises:
        UserError: the place cannot be written, or the code not be read.
    """
    path = new_run_path(Path(os.path.abspath(runs_root)), plan.name)  # noqa: PTH100
    files = own_code_files()
    record = {**plan.to_json(), "data": planned_fingerprints(loaded.config)}
    if plan.snapshot:
        record["code"] = {"sha256": code_digest(files)}

    def add(run: RunDirectory) -> None:
        record_code(run, files)
        if plan.snapshot:
            write_code(run.code, files)

    return prepare_run(path, loaded, record, render(plan, path), add)


def submit(
    loaded: LoadedConfig,
    plan: LaunchPlan,
    cluster: str,
    runs_root: Path,
    after: Sequence[RunDirectory] = (),
) -> Submission:
    """Prepare a run and submit it; on a refusal nothing is left behind.

    Args:
        loaded: the checked config.
        plan: its plan.
        cluster: `slurm` or `local`.
        runs_root: where its directory shall be.
        after: runs that must have finished before it starts.

    Raises:
        UserError: the scheduler refuses the job, or the local cluster cannot hold it.
        ClusterUnreachable: SLURM does not answer.
    """
    require_cluster(cluster, plan)
    if after and cluster == "local":
        raise UserError("--after: the local cluster starts a run at once; use --cluster slurm")
    waits_for = dependency_options(after)
    with _ctrl_c_waits() as pressed:
        run = prepare(loaded, plan, runs_root)
        try:
            job_id = _submit_and_record(run, cluster, waits_for)
        except UncertainSubmission as error:
            raise UncertainSubmission(
                f"{error}; the job may be queued all the same (squeue --name={plan.name}), so its "
                f"run directory stays: {run.path}"
            ) from None
        except BaseException:
            shutil.rmtree(run.path, ignore_errors=True)
            raise
    return Submission(run, job_id, cluster, bool(pressed))


def submit_prepared(run: RunDirectory, cluster: str) -> Submission:
    """Submit the script of an existing run directory."""
    with _ctrl_c_waits() as pressed:
        job_id = _submit_and_record(run, cluster)
    return Submission(run, job_id, cluster, bool(pressed))


def _submit_and_record(run: RunDirectory, cluster: str, options: Sequence[str] = ()) -> str:
    """Submit, and tie job and run together; a job that cannot be recorded is taken back."""
    job_id = submit_script(run, cluster, options)
    try:
        _record(run, cluster, job_id)
    except OSError as error:
        if cluster == "slurm":
            cancel_job(job_id)
        else:
            os.kill(LocalProcess.parse(job_id).pid, signal.SIGTERM)
        raise UserError(f"the job cannot be recorded, and was taken back: {error}") from None
    return job_id


def require_cluster(cluster: str, plan: LaunchPlan) -> None:
    """Check that a cluster is there, and can hold the ranks of a plan.

    Raises:
        UserError: it cannot, or SLURM does not answer.
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
        raise UserError(
            f"environment.container_runtime: {place.container_runtime} is not on PATH here"
            + ("; it is a plugin of srun, use apptainer" * (place.container_runtime == "pyxis"))
        )


def _record(run: RunDirectory, cluster: str, job_id: str) -> None:
    jobs: list[dict[str, Any]] = []
    if run.submission_json.exists():
        jobs = read_json(run.submission_json)["jobs"]
    job: dict[str, Any] = {"job_id": job_id, "cluster": cluster, "submitted_at": time.time()}
    write_json_atomic(run.submission_json, {"format": 1, "jobs": [*jobs, job]})


@contextmanager
def _ctrl_c_waits() -> Iterator[list[int]]:
    """Hold Ctrl-C back until job and record belong together; yields what was pressed."""
    pressed: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, previous)
