"""Why SLURM lets a job wait: its reason codes in plain words, with what one can do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from launcher.text.plain_text import plain


@dataclass(frozen=True)
class Wait:
    """Why a job waits."""

    code: str
    """As SLURM says it."""
    words: str
    advice: str
    """What to do; empty: wait."""

    @property
    def sentence(self) -> str:
        """In one line."""
        return f"{self.words} ({self.code})" if self.words else self.code


_TIME = "a shorter resources.time may start earlier"
_PARTITION = "change resources.partition, or ask the site"
_QOS = "wait for your other jobs, or change resources.qos"
_ACCOUNT = "wait for the jobs of this account, or change resources.account"
_REASONS: dict[str, tuple[str, str]] = {
    "Priority": ("other jobs are before it in the queue", _TIME),
    "Resources": ("it is next, and waits for free nodes", _TIME),
    "BeginTime": ("it may not start yet: a pause before a restart, or a begin time", ""),
    "Cleaning": ("what its last start left is still being cleared away", ""),
    "Dependency": ("it waits for another job", ""),
    "DependencyNeverSatisfied": (
        "the job that it waits for did not end as it had to",
        "cancel it, and submit it anew without that dependency",
    ),
    "JobHeldUser": ("its owner holds it", "release it: scontrol release JOB"),
    "JobHeldAdmin": ("an administrator holds it", "ask the site"),
    "JobHoldMaxRequeue": ("it was put back too often", "release it: scontrol release JOB"),
    "BadConstraints": (
        "no node can ever satisfy it",
        "change resources.constraint or what is asked per node",
    ),
    "NodeDown": ("a node that it needs is down", "ask the site"),
    "ReqNodeNotAvail": (
        "nodes that it could use are down, drained or reserved (for maintenance, say)",
        f"{_TIME}, if it then ends before the reservation begins",
    ),
    "Reservation": ("it waits for its reservation to begin", ""),
    "Licenses": ("it waits for a licence", ""),
    "JobArrayTaskLimit": ("as many members of its array run as may", ""),
    "PartitionDown": ("its partition is down", _PARTITION),
    "PartitionInactive": ("its partition starts no jobs", _PARTITION),
    "PartitionNodeLimit": (
        "it wants more, or fewer, nodes than its partition gives a job",
        "change resources.nodes or resources.partition",
    ),
    "PartitionTimeLimit": (
        "it wants more walltime than its partition gives",
        "lower resources.time, or change resources.partition",
    ),
    "AccountNotAllowed": (
        "its account may not use the partition", "change resources.account or resources.partition",
    ),
    "QOSNotAllowed": (
        "its QOS may not use the partition", "change resources.qos or resources.partition",
    ),
    "InvalidAccount": ("its account does not exist", "change resources.account"),
    "InvalidQOS": ("its QOS does not exist", "change resources.qos"),
    "QOSJobLimit": ("as many jobs of its QOS run as may", _QOS),
    "QOSUsageThreshold": ("its QOS has used up its share", "change resources.qos"),
    "AssocUsageThreshold": ("its account has used up its share", "change resources.account"),
    "ReservationDeleted": ("its reservation was deleted", "submit it anew without it"),
    "NonZeroExitCode": ("its script failed before", "see the logs"),
    "SystemFailure": ("SLURM failed to start it", "ask the site"),
    "FrontEndDown": ("no front-end node is up", "ask the site"),
    "InactiveLimit": ("it was inactive for too long", "ask the site"),
    "Prolog": ("its nodes are being prepared", ""),
}  # fmt: skip
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


def why_it_waits(reason: str) -> Wait:
    """A reason code as squeue prints it, with its words where they are known."""
    code = plain(reason.strip())
    name = re.split(r"[\s,:(]", code, maxsplit=1)[0]
    if name in _REASONS:
        return Wait(code, *_REASONS[name])
    match = _LIMIT.match(name)
    if match is None:
        return Wait(code, "", "")
    return Wait(code, *_of_limit(match[1], match[2], name))


def _of_limit(of: str, scope: str, name: str) -> tuple[str, str]:
    """The limits of QOS and association are many; their names are made of the same parts."""
    owner, others = ("QOS", _QOS) if of == "QOS" else ("account", _ACCOUNT)
    parts = name.removesuffix("Limit").replace("PerJob", "").lower()
    key = next((key for key in _WHAT if key in parts), None)
    what, field = _WHAT[key] if key else ("of a resource", "")
    minutes = " in minutes of use" if "minutes" in name.lower() else ""
    if key is None:
        return f"it would pass a limit of its {owner}", others
    whose = "user" if "PerUser" in name or name.endswith("PU") else owner
    if scope == "Grp":
        return f"all jobs of its {owner} together have reached the limit of {what}{minutes}", others
    if key in {"job", "submit"}:
        article = "an" if whose == "account" else "a"
        return f"as many {what} run or wait as {article} {whose} may have", others
    counted = what.endswith("s")
    bound = "more" if scope != "Min" else "fewer" if counted else "less"
    advice = f"change {field}, or resources.{'qos' if of == 'QOS' else 'account'}"
    return f"it wants {bound} {what}{minutes} than its {owner} gives a job or {whose}", advice
