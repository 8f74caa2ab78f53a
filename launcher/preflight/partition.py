"""Checks whether the run may use its partition, and for its walltime. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from launcher.planning.plan import LaunchPlan
from launcher.preflight.findings import FieldPlaces, Finding, refused
from launcher.preflight.nodes import Need, node_findings, waived
from launcher.slurm.cluster_facts import ClusterFacts, Partition
from launcher.slurm.units import duration_text
from launcher.text.counted import listed

_CLOSED = {
    "DRAIN": "takes no new jobs (state DRAIN)",
    "INACTIVE": "takes no new jobs (state INACTIVE)",
}
_FIELD = "resources.partition"


def partition_findings(
    plan: LaunchPlan, facts: ClusterFacts, places: FieldPlaces
) -> Iterator[Finding]:
    """Findings on the partition, its nodes and its walltime."""
    if not facts.partitions:
        why = facts.unknown.get("partitions", "SLURM shows no partition")
        yield Finding("note", "partition", _FIELD, f"not checked: {why}")
        return
    named = plan.resources.partition
    known = {each.name: each for each in facts.partitions}
    visible = [each.name for each in facts.partitions if not each.hidden]
    if named is None:
        chosen = [each for each in facts.partitions if each.default]
        if not chosen:
            yield Finding(
                "error",
                "partition",
                _FIELD,
                f"no partition is named, and this cluster has no default one; there are "
                f"{listed(visible)}",
            )
            return
    else:
        names = [name for name in named.split(",") if name]
        for name in names:
            if name not in known:
                yield Finding("error", "partition", _FIELD, _unknown_partition(name, visible))
        chosen = [known[name] for name in names if name in known]
    of_each = [list(_of_partition(each, plan, facts, places)) for each in chosen]
    spared = any(not refused(found) for found in of_each)
    every_one = facts.config.get("EnforcePartLimits", "").upper() == "ALL"
    for found in of_each:
        # Of several partitions one that fits is enough, unless the site requires all to fit.
        for each in found:
            lenient = each.level == "error" and spared and not every_one
            yield Finding(
                "warning" if lenient else each.level, each.check, each.field, each.message
            )


def chosen_partitions(plan: LaunchPlan, facts: ClusterFacts) -> list[Partition]:
    """The partitions that the run names and that exist; by default, the default partition."""
    named = plan.resources.partition
    if named is None:
        return [each for each in facts.partitions if each.default]
    return [each for each in facts.partitions if each.name in named.split(",")]


def _unknown_partition(name: str, visible: list[str]) -> str:
    close = difflib.get_close_matches(name, visible, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"there is no partition {name} here{hint}; there are {listed(visible)}"


def _of_partition(
    partition: Partition, plan: LaunchPlan, facts: ClusterFacts, places: FieldPlaces
) -> Iterator[Finding]:
    access, elsewhere = [*_access(partition, facts)], _elsewhere(partition, plan, facts)
    yield from access
    if not access:
        yield Finding("ok", "partition", _FIELD, f"{partition.name} is up, and you may use it")
    yield from node_findings(partition, plan, facts, places, elsewhere)
    yield from _walltime(partition, plan, facts, elsewhere)


def _access(partition: Partition, facts: ClusterFacts) -> Iterator[Finding]:
    name, state = partition.name, partition.state
    if state in _CLOSED:
        yield Finding("error", "partition", _FIELD, f"{name} {_CLOSED[state]}; choose another one")
    elif state != "UP":
        yield Finding(
            "warning", "partition", _FIELD, f"{name} is {state}: the job would wait until it is up"
        )
    if facts.groups is None:
        return
    allowed = partition.allowed("Groups")
    if partition.root_only:
        yield Finding("error", "partition", _FIELD, f"{name} is for root only; choose another one")
    elif allowed is not None and not allowed & facts.groups:
        yield Finding(
            "error",
            "partition",
            _FIELD,
            f"{name} is for the groups {listed(sorted(allowed))}, and {facts.user} is in "
            f"{listed(sorted(facts.groups))}; choose another partition, or ask the site",
        )


def _walltime(
    partition: Partition, plan: LaunchPlan, facts: ClusterFacts, elsewhere: str
) -> Iterator[Finding]:
    limit, name = partition.max_time_s, partition.name
    if limit is None:
        yield Finding("ok", "walltime", "resources.time", f"{name} has no limit of its own")
    elif plan.walltime_s <= limit or waived(plan, facts, "PartitionTimeLimit"):
        yield Finding(
            "ok",
            "walltime",
            "resources.time",
            f"{duration_text(plan.walltime_s)}; {name} allows {duration_text(limit)}",
        )
    else:
        effect = "refused"
        # With EnforcePartLimits=NO, sbatch accepts such a job and lets it wait for ever.
        if facts.config.get("EnforcePartLimits", "").upper() in ("NO", "0", ""):
            effect = "accepted but never started"
        requeued = (
            "; the run then continues in further jobs (requeue.on)" if plan.requeue.on else ""
        )
        yield Finding(
            "error",
            "walltime",
            "resources.time",
            f"{duration_text(plan.walltime_s)}, but {name} allows {duration_text(limit)}: it would "
            f"be {effect}; set {duration_text(limit)} or less{requeued}"
            f"{elsewhere}",
        )


def _elsewhere(partition: Partition, plan: LaunchPlan, facts: ClusterFacts) -> str:
    """End of a sentence: the other partitions that would accept the run unchanged; or empty."""
    fitting = [
        other.name
        for other in facts.partitions
        if other.name != partition.name and _accepts(other, plan, facts)
    ]
    return f", or use {listed(fitting, 'or')}" if fitting else ""


def _accepts(partition: Partition, plan: LaunchPlan, facts: ClusterFacts) -> bool:
    """Whether a partition would accept the run unchanged, on nodes that can be used now."""
    need = Need.of(plan)
    if partition.hidden or partition.state != "UP" or refused(_access(partition, facts)):
        return False
    amounts_and_limits = (
        (need.nodes, partition.max_nodes),
        (plan.walltime_s, partition.max_time_s),
        (need.cpus, partition.max_cpus_per_node),
        (need.memory_mb or 0, partition.max_mem_per_node_mb or None),
    )
    if any(limit is not None and amount > limit for amount, limit in amounts_and_limits):
        return False
    usable = sum(
        group.count
        for group in facts.nodes
        if group.partition == partition.name and group.usable and need.fits(group)
    )
    return partition.min_nodes <= need.nodes <= usable
