"""Why SLURM lets a job wait: its reason codes in plain words, with what one can do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from launcher.text.plain_text import plain


@dataclass(frozen=True)
class Wait:
    """Why a job waits."""

    code: str
    """SLURM's own word for it."""
    words: str = ""
    """The same in plain words; empty: the code is not known."""
    advice: str = ""
    """What to do; empty: nothing but wait."""

    @property
    def sentence(self) -> str:
        """The words with the code, on one line."""
        return f"{self.words} ({self.code})" if self.words else self.code


_TIME = "with a shorter resources.time it may start earlier"
_PARTITION = "change resources.partition, or ask your site"
_QOS = "wait for your other jobs, or change resources.qos"
_ACCOUNT = "wait for the other jobs of this account, or change resources.account"
_REASONS: dict[str, tuple[str, str]] = {
    "Priority": ("other jobs are ahead of it in the queue", _TIME),
    "Resources": ("it is next in the queue, and waits for free nodes", _TIME),
    "BeginTime": ("it may not start yet: a pause before a restart, or a begin time", ""),
    "Cleaning": ("SLURM is still cleaning up after its last start", ""),
    "Dependency": ("it waits for another job", ""),
    "DependencyNeverSatisfied": (
        "the job that it waits for did not end in the required way",
        "cancel it, and submit it again without that dependency",
    ),
    "JobHeldUser": ("its owner holds it", "to release it: scontrol release JOB"),
    "JobHeldAdmin": ("an administrator holds it", "ask your site"),
    "JobHoldMaxRequeue": ("it was requeued too often", "to release it: scontrol release JOB"),
    "BadConstraints": (
        "no node can ever satisfy its request",
        "change resources.constraint, or ask for less per node",
    ),
    "NodeDown": ("a node that it needs is down", "ask your site"),
    "ReqNodeNotAvail": (
        "nodes that it could use are down, drained or reserved (for maintenance, for example)",
        f"{_TIME}, if it then ends before the reservation begins",
    ),
    "Reservation": ("it waits for its reservation to begin", ""),
    "Licenses": ("it waits for a licence", ""),
    "JobArrayTaskLimit": ("as many members of its array run as may run at once", ""),
    "PartitionDown": ("its partition is down", _PARTITION),
    "PartitionInactive": ("its partition starts no jobs", _PARTITION),
    "PartitionNodeLimit": (
        "it asks for more, or fewer, nodes than its partition allows",
        "change resources.nodes or resources.partition",
    ),
    "PartitionTimeLimit": (
        "it asks for more walltime than its partition allows",
        "lower resources.time, or change resources.partition",
    ),
    "AccountNotAllowed": (
        "its account may not use the partition",
        "change resources.account or resources.partition",
    ),
    "QOSNotAllowed": (
        "its QOS may not use the partition",
        "change resources.qos or resources.partition",
    ),
    "InvalidAccount": ("its account does not exist", "change resources.account"),
    "InvalidQOS": ("its QOS does not exist", "change resources.qos"),
    "QOSJobLimit": ("as many jobs of its QOS run as may run at once", _QOS),
    "QOSUsageThreshold": ("its QOS has used up its share", "change resources.qos"),
    "AssocUsageThreshold": ("its account has used up its share", "change resources.account"),
    "ReservationDeleted": ("its reservation was deleted", "submit it again without it"),
    "NonZeroExitCode": ("its script failed at an earlier start", "read the logs"),
    "SystemFailure": ("SLURM failed to start it", "ask your site"),
    "FrontEndDown": ("no front-end node is up", "ask your site"),
    "InactiveLimit": ("it was inactive for too long", "ask your site"),
    "Prolog": ("its nodes are being prepared", ""),
}
_LIMIT = re.compile(r"(QOS|Assoc)(Max|Grp|Min)")
_WHAT = {
    "cpu": ("CPUs", "resources.cpus_per_task or resources.nodes"),
    "node": ("nodes", "resources.nodes"),
    "mem": ("memory", "resources.mem_per_node"),
    "gres": ("GPUs", "resources.gpus_per_node"),
    "wall": ("walltime", "resources.time"),
    "job": ("jobs", ""),
    "submit": ("submitted jobs", ""),
}
"""Part of the name of a limit → what it limits, and the fields that ask for it."""


def why_it_waits(reason: str) -> Wait:
    """Translate a reason as squeue prints it; an unknown one is returned without words."""
    code = plain(reason.strip())
    name = re.split(r"[\s,:(]", code, maxsplit=1)[0]
    if name in _REASONS:
        return Wait(code, *_REASONS[name])
    match = _LIMIT.match(name)
    if match is None:
        return Wait(code)
    return Wait(code, *_of_limit(match[1], match[2], name))


def _of_limit(of: str, scope: str, name: str) -> tuple[str, str]:
    """Words and advice for a limit of a QOS or an association.

    There are many of these limits, so their names are taken apart: `QOSMaxCpuPerUserLimit`.
    """
    owner, others = ("QOS", _QOS) if of == "QOS" else ("account", _ACCOUNT)
    parts = name.removesuffix("Limit").replace("PerJob", "").lower()
    key = next((key for key in _WHAT if key in parts), None)
    if key is None:
        return f"it would exceed a limit of its {owner}", others
    what, field = _WHAT[key]
    minutes = " in minutes of use" if "minutes" in name.lower() else ""
    if scope == "Grp":
        return (
            f"all jobs of its {owner} together have reached the limit of {what}{minutes}",
            others,
        )
    whose = "user" if "PerUser" in name or name.endswith("PU") else owner
    if key in {"job", "submit"}:
        return f"the limit of {what} per {whose} is reached", others
    less = "fewer" if what.endswith("s") else "less"
    bound = less if scope == "Min" else "more"
    advice = f"change {field}, or resources.{'qos' if of == 'QOS' else 'account'}"
    return f"it asks for {bound} {what}{minutes} than its {owner} allows a job or {whose}", advice
