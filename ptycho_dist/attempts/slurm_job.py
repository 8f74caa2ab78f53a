"""What a batch script asks of SLURM about its own job, and tells it; bounded, and never fatal."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence

from ptycho_dist.attempts.bounded_command import run_command

TIMEOUT_S = 20
LEAVING_S = 10
"""How long a job may take to leave its nodes."""
_LOST = ("DOWN", "NOT_RESPONDING", "FAIL", "POWERED_DOWN")


def own_job_id() -> str | None:
    """The job that this process belongs to, by the id under which squeue shows it and scancel ends
    it alone: a member of a job array is `ARRAYJOB_TASK`; None: outside of a job."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def slurm_nodes() -> list[str]:
    """The nodes of SLURM's job, in the order of ranks; none outside of one."""
    if "SLURM_JOB_NODELIST" not in os.environ:
        return []
    from submitit.slurm.slurm import SlurmJobEnvironment

    return list(SlurmJobEnvironment().hostnames)


def rendezvous_host() -> str:
    """The address of this node that the other nodes of the job can resolve.

    SLURM knows where it reaches a node (NodeAddr), even where its name is in no DNS; asked
    for on the batch host, which is the node of rank 0. Without scontrol (containers) the
    aliases SLURM hands down, then the node's name, then the host's.
    """
    node = os.environ.get("SLURMD_NODENAME", "")
    if not node:
        return "127.0.0.1"
    address = _shown("node", node).get("NodeAddr")
    if address:
        return address
    for alias in os.environ.get("SLURM_NODE_ALIASES", "").split(","):
        name, _, address = alias.partition(":")
        if name == node and address:
            return address.partition(":")[0]
    return node if _resolves(node) else socket.gethostname()


def job_ends_at(job_id: str) -> float | None:
    """When SLURM will end the job, in seconds since the epoch; None: nobody says."""
    told = os.environ.get("SLURM_JOB_END_TIME", "")  # newer SLURM hands it down
    if told.isdecimal():
        return float(told)
    text = _shown("job", job_id).get("EndTime", "")
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None


def job_is_being_cancelled(job_id: str, ends_at: float | None) -> bool:
    """Whether SLURM is ending the job before its walltime, and not to start it again: `scancel` by
    its owner or an operator, without our `cancel`.

    SLURM says COMPLETING of it, as of a job that it has put back, whose restarts it counts at once.

    Args:
        job_id: of the job that this script belongs to.
        ends_at: when its walltime is over, in seconds since the epoch.
    """
    job = _shown("job", job_id)
    if job.get("JobState") == "CANCELLED":
        return True
    put_back = job.get("Restarts", "0") != (os.environ.get("SLURM_RESTART_COUNT") or "0")
    early = ends_at is None or time.time() < ends_at
    return job.get("JobState") == "COMPLETING" and early and not put_back


def lost_nodes(nodes: Sequence[str]) -> list[str]:
    """Those that SLURM says are down or do not respond."""
    lost = []
    for node in nodes:
        state = _shown("node", node).get("State", "")
        if any(sign in state.split("+") for sign in _LOST) or "*" in state:
            lost.append(node)
    return lost


def requeue(job_id: str, delay_s: int, exclude: Sequence[str]) -> str | None:
    """Put the job back into the queue; None, or why SLURM does not.

    SLURM itself would hold it for two minutes: its start is set, and nodes are excluded, while it
    is leaving, which SLURM allows; a start that has passed when it has left is forgotten. From here
    on SLURM ends this script. A job that somebody else has put back is left so.
    """
    refused = _tell("requeue", job_id)
    if refused is not None and "pending" not in refused:
        return refused
    start = [f"StartTime=now+{max(delay_s, LEAVING_S)}"]
    excluded = [f"ExcNodeList={','.join(exclude)}"] if exclude else []
    if excluded and _tell("update", f"JobId={job_id}", *start, *excluded) is None:
        return None
    _tell("update", f"JobId={job_id}", *start)  # fewer nodes may be too few
    return None


def _tell(*arguments: str) -> str | None:
    """Have scontrol change something; None, or why it did not."""
    answer = run_command(["scontrol", *arguments], TIMEOUT_S, name=f"scontrol {arguments[0]}")
    if answer.code:  # the words that matter may stand on a later line
        return f"scontrol {arguments[0]}: {' '.join((answer.complaint or answer.text).split())}"
    return answer.trouble or None


def _shown(what: str, name: str) -> dict[str, str]:
    """What `scontrol show` says of a node or job; empty without an answer."""
    answer = run_command(["scontrol", "--oneliner", "show", what, name], TIMEOUT_S)
    return {} if answer.trouble else scontrol_words(answer.text)


def scontrol_words(line: str) -> dict[str, str]:
    """The `Name=value` pairs of a line of `scontrol --oneliner show`, without empty values."""
    found: dict[str, str] = {}
    for word in line.split():
        name, equals, value = word.partition("=")
        if equals and value not in ("", "(null)", "Unknown", "N/A"):
            found.setdefault(name, value)
    return found


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True
