"""The state of a job in SLURM's words, and what the words mean."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

ENDED = frozenset(
    {
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
        *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
    }
)
WAITING = frozenset(
    {
        *("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD"),
        *("RESV_DEL_HOLD", "SPECIAL_EXIT"),
    }
)


@dataclass(frozen=True)
class JobState:
    """What SLURM says of a job."""

    state: str
    """`PENDING`, `RUNNING`, `COMPLETED` ...; `UNKNOWN` if SLURM has forgotten the job."""
    reason: str
    """Why it waits, as squeue prints it; or what sacct adds to the state."""
    said_by: str
    """The command that said so."""
    starts_at: float | None = None
    """When it started, or is expected to start; seconds since the epoch; None: unknown."""

    @property
    def waits(self) -> bool:
        """Whether the job is in the queue."""
        return self.state in WAITING

    @property
    def ended(self) -> bool:
        """Whether the job is over."""
        return self.state in ENDED


def jobs_option(job_ids: list[str]) -> str:
    """The option `--jobs` of squeue and sacct.

    Several members of a job array are asked about as that array: a thousand ids would make a long
    command line.
    """
    members = Counter(job_id.partition("_")[0] for job_id in job_ids)
    asked = []
    for job_id in job_ids:
        array = job_id.partition("_")[0]
        asked.append(array if members[array] > 1 else job_id)
    return f"--jobs={','.join(dict.fromkeys(asked))}"
