"""`submit --after RUN`: a job that SLURM starts when other runs have finished."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.status import status_of
from ptycho_dist.errors import UserError
from ptycho_dist.rundir import RunDirectory


def dependency_options(runs: Sequence[RunDirectory]) -> list[str]:
    """What sbatch is told, so that a job waits for these runs; empty: all have finished.

    A job of a run ends with 0 when the run has finished, and keeps its id over restarts. When one
    ends otherwise, SLURM removes the job that waits.

    Raises:
        UserError: one of them cannot finish any more, or no job of this SLURM runs it.
    """
    jobs = []
    for run in runs:
        status = status_of(run)
        if status.state == "finished":
            continue
        if status.over or status.job_id is None:
            raise UserError(
                f"--after {run.run_id}: it is {status.state} ({status.cause}); resume it first"
            )
        if status.cluster != "slurm":
            raise UserError(
                f"--after {run.run_id}: it runs on the local cluster, where SLURM cannot wait for "
                "it; submit this run when that one has finished"
            )
        jobs.append(status.job_id)
    if not jobs:
        return []
    return [f"--dependency=afterok:{':'.join(jobs)}", "--kill-on-invalid-dep=yes"]
