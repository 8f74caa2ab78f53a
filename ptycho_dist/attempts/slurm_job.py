"""Questions and commands of a batch script to SLURM about its job: bounded in time, never fatal."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence

from ptycho_dist.attempts.bounded_command import run_command

TIMEOUT_S = 20
"""Seconds that one command of SLURM may take."""
LEAVING_S = 10
"""Seconds that a job may take to leave its nodes."""
_LOST = ("DOWN", "NOT_RESPONDING", "FAIL", "POWERED_DOWN")


def own_job_id() -> str | None:
    """The id of the job that this process belongs to; None: outside of a job.

    It is the id under which squeue shows the job and scancel ends it: `ARRAYJOB_TASK` for a member
    of a job array.
    """
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def slurm_nodes() -> list[str]:
    """The nodes of the SLURM job, in the order of the ranks; empty outside of a job."""
    if "SLURM_JOB_NODELIST" not in os.environ:
        return []
    from submitit.slurm.slurm import SlurmJobEnvironment

    return list(SlurmJobEnvironment().hostnames)


def rendezvous_host() -> str:
    """The address of this node that the other nodes of the job can resolve.

    SLURM knows the address of a node (NodeAddr), even if its name is in no DNS. It is asked on
    the batch host, which is the node of rank 0. Without scontrol (in a container) the address is
    one of the aliases that SLURM passes on, then the name of the node, then that of the host.
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
    """When SLURM will end the job, in seconds since the epoch; None: unknown."""
    end_time = os.environ.get("SLURM_JOB_END_TIME", "")  # set by newer versions of SLURM
    if end_time.isdecimal():
        return float(end_time)
    return slurm_time(_shown("job", job_id).get("EndTime", ""))


def slurm_time(text: str) -> float | None:
    """Seconds since the epoch for SLURM's `2026-11-24T13:32:23`; None for `N/A` or `Unknown`."""
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
    except (ValueError, OverflowError):
        return None


def job_is_being_cancelled(job_id: str, ends_at: float | None) -> bool:
    """Whether a person or an operator ended the job with `scancel`, without our `cancel`.

    Such a job is COMPLETING before its walltime is over. So is a job that SLURM has put back into
    the queue, but the restarts of that one are counted at once.

    Args:
        job_id: the job that this script belongs to.
        ends_at: when the walltime is over, in seconds since the epoch; None: unknown.
    """
    job = _shown("job", job_id)
    if job.get("JobState") == "CANCELLED":
        return True
    put_back = job.get("Restarts", "0") != (os.environ.get("SLURM_RESTART_COUNT") or "0")
    early = ends_at is None or time.time() < ends_at
    return job.get("JobState") == "COMPLETING" and early and not put_back


def lost_nodes(nodes: Sequence[str]) -> list[str]:
    """The nodes that SLURM reports as down or as not responding."""
    lost = []
    for node in nodes:
        state = _shown("node", node).get("State", "")
        if any(sign in state.split("+") for sign in _LOST) or "*" in state:
            lost.append(node)
    return lost


def requeue(job_id: str, delay_s: int, exclude: Sequence[str]) -> str | None:
    """Put the job back into the queue; a job that is there already stays.

    SLURM by itself holds a requeued job for two minutes. Therefore the earliest start is set, and
    nodes are excluded, while the job is still leaving its nodes. SLURM forgets a start that has
    passed by the time the job has left. From the requeue on SLURM ends this script.

    Args:
        job_id: the job that this script belongs to.
        delay_s: seconds to wait before the next start.
        exclude: nodes that the job must not get.

    Returns:
        Why SLURM refuses; None: the job is in the queue.
    """
    refused = _tell("requeue", job_id)
    if refused is not None and "pending" not in refused:
        return refused
    start = [f"StartTime=now+{max(delay_s, LEAVING_S)}"]
    excluded = [f"ExcNodeList={','.join(exclude)}"] if exclude else []
    if excluded and _tell("update", f"JobId={job_id}", *start, *excluded) is None:
        return None
    # SLURM refuses exclusions that leave too few nodes; the start is set without them then.
    _tell("update", f"JobId={job_id}", *start)
    return None


def _tell(*arguments: str) -> str | None:
    """Have scontrol change something; return why it failed, or None."""
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
