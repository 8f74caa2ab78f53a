"""Checks whether the run may use its account and QOS, within the limits of both. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from launcher.planning.plan import LaunchPlan
from launcher.preflight.findings import GRAVEST_FIRST, FieldPlaces, Finding, Level
from launcher.preflight.nodes import Need
from launcher.slurm.cluster_facts import Association, ClusterFacts, Limits, Partition
from launcher.slurm.units import duration_text, memory_text
from launcher.text.counted import counted, listed

_ACCOUNT, _QOS = "resources.account", "resources.qos"
_RUNNING = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED")


def accounting_findings(
    plan: LaunchPlan, partitions: list[Partition], facts: ClusterFacts, places: FieldPlaces
) -> Iterator[Finding]:
    """Findings on account, QOS and limits, as far as this cluster has them and shows them."""
    if not facts.keeps_accounts:
        message = "this cluster keeps no accounts, QOS or limits"
        yield Finding("ok", "accounting", "", message)
        for field, value in ((_ACCOUNT, plan.resources.account), (_QOS, plan.resources.qos)):
            if value is not None:
                yield Finding("note", "accounting", field, f"{value} has no effect here: {message}")
        return
    if "accounts" in facts.unknown:
        why = facts.unknown["accounts"]
        yield Finding("note", "accounting", _ACCOUNT, f"not checked: {why}")
        yield from _partition_lists(plan, partitions, "", "")
        return
    account = plan.resources.account or facts.default_account
    mine = [each for each in facts.associations if each.user]
    names = {each.name for each in partitions}
    used = [e for e in mine if e.account == account and (not e.partition or e.partition in names)]
    qos = plan.resources.qos or next((each.default_qos for each in used if each.default_qos), "")
    found = [
        *_account(plan, account, mine, used, facts),
        *_qos(plan, qos, used, facts),
        *_partition_lists(plan, partitions, account, qos),
        *_within_limits(plan, account, qos, used, partitions, facts, places),
    ]
    yield from found
    if not any(each.level in ("error", "warning") for each in found):
        words = [f"account {account}"] if account else []
        words += [f"QOS {qos}"] if qos else []
        what = " and ".join(words) or "no account is needed"
        yield Finding("ok", "accounting", _ACCOUNT, f"{what}: within all known limits")


def _level(facts: ClusterFacts, what: str) -> Level:
    """How grave a broken rule is: one that the site does not enforce only deserves a note."""
    return "error" if facts.enforces(what) else "note"


def _unenforced(facts: ClusterFacts, what: str) -> str:
    return "" if facts.enforces(what) else "; this cluster does not enforce it"


def _account(
    plan: LaunchPlan,
    account: str,
    mine: list[Association],
    used: list[Association],
    facts: ClusterFacts,
) -> Iterator[Finding]:
    if used:
        return
    level, weak = _level(facts, "associations"), _unenforced(facts, "associations")
    accounts = sorted({each.account for each in mine})
    if not accounts:
        message = f"{facts.user} has no account on this cluster; ask your site for one"
    elif not account:
        message = f"no account is named, and you have no default one; add one of {listed(accounts)}"
    elif any(each.account == account for each in mine):
        where = sorted({each.partition for each in mine if each.account == account})
        message = (
            f"{account} may not be used in {plan.resources.partition or 'the default partition'}, "
            f"only in {listed(where)}"
        )
    else:
        close = difflib.get_close_matches(account, accounts, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        message = f"you may not use {account}{hint}; yours are {listed(accounts)}"
    yield Finding(level, "accounting", _ACCOUNT, message + weak)


def _qos(
    plan: LaunchPlan, qos: str, used: list[Association], facts: ClusterFacts
) -> Iterator[Finding]:
    if not qos or not used:
        return
    allowed = sorted(frozenset().union(*(each.qos for each in used)))
    if plan.resources.qos is not None and allowed and qos not in allowed:
        missing = "there is no QOS" if facts.qos and qos not in facts.qos else "you may not use"
        yield Finding(
            _level(facts, "qos"),
            "accounting",
            _QOS,
            f"{missing} {qos} with account {used[0].account}; allowed are {listed(allowed)}"
            + _unenforced(facts, "qos"),
        )


def _partition_lists(
    plan: LaunchPlan, partitions: list[Partition], account: str, qos: str
) -> Iterator[Finding]:
    """SLURM enforces the lists of a partition even if it enforces no associations."""
    account, qos = account or plan.resources.account or "", qos or plan.resources.qos or ""
    for partition in partitions:
        for what, field, value in (("Accounts", _ACCOUNT, account), ("Qos", _QOS, qos)):
            allowed, denied = partition.allowed(what), partition.denied(what)
            if not value:
                continue
            if allowed is not None and value not in allowed:
                yield Finding(
                    "error",
                    "accounting",
                    field,
                    f"partition {partition.name} is not for {value}; it is for "
                    f"{listed(sorted(allowed), 'or')}",
                )
            elif allowed is None and value in denied:
                yield Finding(
                    "error",
                    "accounting",
                    field,
                    f"partition {partition.name} is closed to {value}; choose another one",
                )


def _within_limits(
    plan: LaunchPlan,
    account: str,
    qos: str,
    used: list[Association],
    partitions: list[Partition],
    facts: ClusterFacts,
    places: FieldPlaces,
) -> Iterator[Finding]:
    """Findings on limits. The first source that sets one counts (SLURM's resource_limits guide)."""
    named = [each.qos for each in partitions if each.qos is not None]
    of_partition = [facts.qos[name].limits for name in named if name in facts.qos]
    of_job = [facts.qos[qos].limits] if qos in facts.qos else []
    overrides = qos in facts.qos and "OverPartQOS" in facts.qos[qos].flags
    # The QOS of the partition counts before that of the job, unless the latter has OverPartQOS.
    in_order: list[Limits] = [*of_job, *of_partition] if overrides else [*of_partition, *of_job]
    in_order += [each.limits for each in used]
    in_order += [e.limits for e in facts.associations if not e.user and e.account == account]
    effective: dict[str, tuple[int, str]] = {}
    for limits in in_order:
        for name, value in limits.values.items():
            effective.setdefault(name, (value, limits.source))
    level, weak = _level(facts, "limits"), _unenforced(facts, "limits")
    for name, (value, source) in effective.items():
        each = _over(name, value, source, plan, account, facts, places)
        if each is not None:
            # The less grave of the two levels.
            grave = max(each.level, level, key=GRAVEST_FIRST.index)
            yield Finding(grave, "accounting", each.field, each.message + weak)


def _over(
    name: str,
    limit: int,
    source: str,
    plan: LaunchPlan,
    account: str,
    facts: ClusterFacts,
    places: FieldPlaces,
) -> Finding | None:
    kind, _, resource = name.partition(":")
    if kind == "MaxWall":
        if plan.walltime_s <= limit:
            return None
        allowed = duration_text(limit)
        return Finding(
            "error",
            "accounting",
            "resources.time",
            f"{duration_text(plan.walltime_s)}, but {source} allows {allowed} (MaxWall): the job "
            f"would be refused, or would wait for ever; set {allowed} or less",
        )
    if kind in ("MaxJobs", "MaxSubmit"):
        return _too_many_jobs(kind, limit, source, account, facts)
    return _too_much(kind, resource, limit, source, plan, places)


def _too_many_jobs(
    kind: str, limit: int, source: str, account: str, facts: ClusterFacts
) -> Finding | None:
    by_qos = source.startswith("QOS ")
    own_jobs = [
        job
        for job in facts.queue
        if (job.qos == (source.removeprefix("QOS ")) if by_qos else job.account == account)
        and (kind == "MaxSubmit" or job.state in _RUNNING)
    ]
    if "queue" in facts.unknown or len(own_jobs) < limit:
        return None
    field = _QOS if by_qos else _ACCOUNT
    if kind == "MaxSubmit":
        return Finding(
            "error",
            "accounting",
            field,
            f"{source} allows {counted(limit, 'job')} in the queue (MaxSubmit), and you have "
            f"{len(own_jobs)}; wait until one is over",
        )
    return Finding(
        "warning",
        "accounting",
        field,
        f"{source} lets {counted(limit, 'job')} run at once (MaxJobs), and {len(own_jobs)} of "
        "yours run: the run will wait until one of them is over",
    )


_IN_WORDS = {
    "GrpTRES": "for all its jobs together",
    "MaxTRES": "per job",
    "MaxTRESPerNode": "per node",
    "MaxTRESPU": "for all jobs of one user",
}


def _too_much(
    kind: str, resource: str, limit: int, source: str, plan: LaunchPlan, places: FieldPlaces
) -> Finding | None:
    need = Need.of(plan)
    per_node = {"node": 1, "cpu": need.cpus, "mem": need.memory_mb, "gres/gpu": need.gpus}
    amount = per_node.get(resource)
    if not amount:
        return None
    whole_job = amount * need.nodes
    asked = amount if kind == "MaxTRESPerNode" else whole_job
    field = {
        "node": places.of_nodes(),
        "cpu": "resources.cpus_per_task",
        "mem": "resources.mem_per_node",
        "gres/gpu": "resources.gpus_per_node",
    }[resource]
    if kind == "MinTRES":
        if asked >= limit:
            return None
        return Finding(
            "error",
            "accounting",
            field,
            f"{_amount(resource, asked)}, but {source} is for jobs of at least "
            f"{_amount(resource, limit)} (MinTRES); choose another QOS, or ask for more",
        )
    if asked <= limit:
        return None
    fewer = limit // amount
    if kind != "MaxTRESPerNode" and fewer and resource != "node":
        remedy = f"with this much per node, set at most {counted(fewer, 'node')}"
    else:
        remedy = f"set {_amount(resource, limit)} or less"
    return Finding(
        "error",
        "accounting",
        field,
        f"{_amount(resource, asked)}, but {source} allows {_amount(resource, limit)} "
        f"{_IN_WORDS[kind]} ({kind}): the job would be refused, or would wait for ever; {remedy}",
    )


def _amount(resource: str, number: int) -> str:
    if resource == "mem":
        return f"{memory_text(number)} of memory"
    return counted(number, {"node": "node", "cpu": "CPU", "gres/gpu": "GPU"}[resource])
