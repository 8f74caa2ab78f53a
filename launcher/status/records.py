"""Reads what a run directory says of its jobs and its latest attempt, before anybody else is asked.

No more is read than the state of a run needs, because `list` does it for a thousand runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from launcher.slurm.jobs import Scheduler
from launcher.status.cut_short import Unsettled, submitted_jobs
from launcher.status.submission_record import Job
from ptycho_dist.attempts.record import AttemptRecord, attempt_numbers, read_attempt
from ptycho_dist.rundir.layout import RunDirectory


@dataclass(frozen=True)
class Records:
    """What the directory of a run says of its jobs."""

    run: RunDirectory
    job: Job | None
    """The latest job."""
    attempts: int
    """Number of attempts."""
    latest: AttemptRecord | None
    """The latest attempt."""
    unsettled: Unsettled | None = None
    """A submission for which no job is known (yet)."""

    @property
    def of_job(self) -> AttemptRecord | None:
        """The latest attempt, if the latest job began it."""
        same = self.latest and self.job and self.latest.job_id == self.job.job_id
        return self.latest if same else None

    @property
    def asks_slurm(self) -> bool:
        """Whether only SLURM knows the state of the run."""
        if self.job is None or self.job.cluster != "slurm":
            return False
        end = self.of_job.end if self.of_job is not None else None
        return end is None or (end.restarts and not self.run.result_json.exists())


def read_records(run: RunDirectory, scheduler: Scheduler) -> Records:
    """Read what is needed to tell the state of a run.

    Args:
        run: its directory.
        scheduler: asks SLURM whether a submission that was cut short has a job.

    Raises:
        UserError: its directory is damaged.
    """
    jobs, unsettled = submitted_jobs(run, scheduler)
    numbers = attempt_numbers(run)
    latest = read_attempt(run, numbers[-1]) if numbers else None
    job = jobs[-1] if jobs else None
    if latest is not None and (job is None or _not_ours(latest, job)):
        job = Job(latest.job_id, latest.cluster, latest.started_at)
    return Records(run, job, len(numbers), latest, unsettled)


def _not_ours(attempt: AttemptRecord, job: Job) -> bool:
    """Whether no submission of ours explains an attempt: a person gave its script to sbatch."""
    return attempt.job_id != job.job_id and attempt.started_at > job.submitted_at
