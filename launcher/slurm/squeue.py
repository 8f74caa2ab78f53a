"""`squeue`: the jobs in the queue, and those that ended a short while ago."""

from __future__ import annotations

import os

from launcher.slurm.cluster_facts import QueuedJob
from launcher.slurm.job_state import JobState, jobs_option
from launcher.slurm.tables import rows
from ptycho_dist.attempts.bounded_command import Answer, run_command
from ptycho_dist.attempts.slurm_job import slurm_time

TIMEOUT_S = 10
"""Who asks for a status waits at most this long for squeue, and as long again for sacct."""


def ask_states(job_ids: list[str]) -> tuple[dict[str, JobState], str]:
    """The states of the jobs that squeue knows; and why it said nothing, or an empty text."""
    if not job_ids:
        return {}, ""
    options = ("--array", "--states=all", "--format=%i|%T|%S|%r", jobs_option(job_ids))
    answer = _squeue(*options)
    if answer.trouble:
        # squeue refuses the question if it knows none of the jobs; that is an answer.
        forgotten = "Invalid job id" in answer.complaint
        return {}, "" if forgotten else answer.trouble
    return {
        job_id: JobState(state, "" if reason == "None" else reason, "squeue", slurm_time(start))
        for job_id, state, start, reason in rows(answer.text, 4)
    }, ""


def ask_comments() -> tuple[list[tuple[str, str]], str]:
    """Job id (of an array: the array's) and comment of each job of this user; or why not."""
    answer = _squeue(f"--user={os.getuid()}", "--states=all", "--format=%F|%k")
    return [(job_id, comment) for job_id, comment in rows(answer.text, 2)], answer.trouble


def ask_own_jobs(timeout_s: float) -> Answer:
    """The jobs of this user that are not over, for `read_own_jobs`."""
    return _squeue("--array", f"--user={os.getuid()}", "--format=%T|%a|%q", timeout_s=timeout_s)


def read_own_jobs(text: str) -> tuple[QueuedJob, ...]:
    """State, account and QOS of each job."""
    return tuple(
        QueuedJob(state=state, account=account, qos=qos) for state, account, qos in rows(text, 3)
    )


def _squeue(*options: str, timeout_s: float | None = None) -> Answer:
    return run_command(["squeue", "--noheader", *options], timeout_s or TIMEOUT_S)
