"""`scancel`: ends jobs, or sends them a signal."""

from __future__ import annotations

from ptycho_dist.attempts.bounded_command import run_command
from ptycho_dist.errors import ClusterUnreachable

TIMEOUT_S = 20
JOBS_PER_COMMAND = 500


def cancel_job(*job_ids: str, signal: str | None = None) -> None:
    """Cancel jobs, or send a signal to all their steps.

    Raises:
        ClusterUnreachable: scancel fails for another reason than that the job is gone.
    """
    signalling = [f"--signal={signal}"] if signal else []
    for first in range(0, len(job_ids), JOBS_PER_COMMAND):
        some = job_ids[first : first + JOBS_PER_COMMAND]
        answer = run_command(["scancel", *signalling, *some], TIMEOUT_S)
        said = answer.complaint
        gone = "Invalid job id" in said or "already completing" in said
        if answer.trouble and not gone:
            raise ClusterUnreachable(answer.trouble)
