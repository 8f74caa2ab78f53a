"""Checks whether a partition has the nodes, CPUs, memory and GPUs that a run asks for. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from launcher.planning.plan import LaunchPlan
from launcher.preflight.constraint import feature_names, satisfies
from launcher.preflight.findings import FieldPlaces, Finding, refused
from launcher.slurm.cluster_facts import ClusterFacts, NodeGroup, Partition
from launcher.slurm.units import memory_text
from launcher.text.counted import counted, listed
from ptycho_dist.config.resources import memory_mb


@dataclass(frozen=True)
class Need:
    """What the run asks of each node, and the number of nodes."""

    nodes: int
    cpus: int
    memory_mb: int | None
    """Memory per node in MB; None: the default of the site."""
    gpus: int
    gpu_type: str | None
    constraint: str | None

    @classmethod
    def of(cls, plan: LaunchPlan) -> Need:
        """The need of a plan."""
        resources = plan.resources
        memory = resources.mem_per_node
        return cls(
            nodes=plan.world.nodes,
            cpus=plan.world.tasks_per_node * resources.cpus_per_task,
            memory_mb=None if memory is None else memory_mb(memory),
            gpus=resources.gpus_per_node or 0,
            gpu_type=resources.gpu_type,
            constraint=resources.constraint,
        )

    def fits(self, group: NodeGroup) -> bool:
        """Whether a node of this kind has what the run asks for."""
        return (
            group.cpus >= self.cpus
            and group.memory_mb >= (self.memory_mb or 0)
            and group.gpus >= self.gpus
            and (self.gpu_type is None or self.gpu_type in group.gpu_types)
            and (self.constraint is None or satisfies(group.features, self.constraint))
        )


def node_findings(
    partition: Partition,
    plan: LaunchPlan,
    facts: ClusterFacts,
    places: FieldPlaces,
    elsewhere: str,
) -> Iterator[Finding]:
    """Check what a run asks of the nodes of a partition.

    Args:
        partition: the partition.
        plan: plan of the run.
        facts: facts about the cluster.
        places: where the fields of the config are written.
        elsewhere: end of a sentence that names the partitions that would accept the run; or empty.
    """
    need, name, resources = Need.of(plan), partition.name, plan.resources
    nodes_field = places.of_nodes()
    most, least = partition.max_nodes, partition.min_nodes
    if most is not None and need.nodes > most and not waived(plan, facts, "PartitionMaxNodes"):
        yield Finding(
            "error",
            "nodes",
            nodes_field,
            f"{counted(need.nodes, 'node')}, but a job in {name} may have at most {most}; set "
            f"{most} or less{elsewhere}",
        )
    if need.nodes < least and not waived(plan, facts, "PartitionMinNodes"):
        yield Finding(
            "error",
            "nodes",
            nodes_field,
            f"{counted(need.nodes, 'node')}, but a job in {name} must have at least {least}; set "
            f"{least} or more{elsewhere}",
        )
    groups = [each for each in facts.nodes if each.partition == name]
    if not groups:
        why = facts.unknown.get("nodes", f"sinfo shows no node of {name}")
        yield Finding("note", "nodes", nodes_field, f"not checked: {why}")
        return
    failed = [*_per_node(partition, groups, plan, facts, places, elsewhere)]
    yield from failed
    total = sum(each.count for each in groups)
    fitting = [each for each in groups if need.fits(each)]
    # If a resource by itself is too much, its own finding says so, and the nodes are only counted.
    able = total if refused(failed) else sum(each.count for each in fitting)
    usable = sum(each.count for each in fitting if each.usable)
    if able < need.nodes:
        which = "nodes" if able == total else f"nodes that have all of this ({_need_text(need)})"
        remedy = f"set {able} or less" if able else "ask for less per node"
        yield Finding(
            "error",
            "nodes",
            nodes_field,
            f"{counted(need.nodes, 'node')}, but {name} has {able} {which}; {remedy}{elsewhere}",
        )
    elif refused(failed):
        return
    elif usable < need.nodes:
        yield Finding(
            "warning",
            "nodes",
            nodes_field,
            f"{counted(need.nodes, 'node')}, but of the {able} in {name} that fit, only {usable} "
            f"can be used now ({_ill(fitting)}): the job would wait for the others"
            + (f"; with {usable} it would not wait" if usable else "")
            + elsewhere,
        )
    else:
        yield Finding(
            "ok",
            "nodes",
            nodes_field,
            f"{need.nodes} of {usable} usable nodes in {name} that have {_need_text(need)}",
        )
    if not need.gpus and resources.gpus_per_node is None and plan.accelerator == "auto":
        most_gpus = max(each.gpus for each in groups)
        if most_gpus:
            yield Finding(
                "note",
                "nodes",
                "resources.gpus_per_node",
                f"the nodes of {name} have up to {_gpus(groups)}, and no GPU is asked for: the "
                "ranks would compute on the CPU",
            )


def _per_node(
    partition: Partition,
    groups: list[NodeGroup],
    plan: LaunchPlan,
    facts: ClusterFacts,
    places: FieldPlaces,
    elsewhere: str,
) -> Iterator[Finding]:
    """Check each kind of resource by itself against the largest node of the partition."""
    need, name = Need.of(plan), partition.name
    tasks, per_task = plan.world.tasks_per_node, plan.resources.cpus_per_task
    cpus = max(each.cpus for each in groups)
    where = f"the largest node of {name} has {cpus}"
    if partition.max_cpus_per_node is not None and partition.max_cpus_per_node < cpus:
        cpus = partition.max_cpus_per_node
        where = f"{name} allows at most {cpus} per node (MaxCPUsPerNode)"
    if need.cpus > cpus:
        remedy = f"set {cpus // tasks} or less" if cpus >= tasks else f"at most {cpus} ranks fit"
        yield Finding(
            "error",
            "nodes",
            "resources.cpus_per_task" if cpus >= tasks else places.of_tasks(),
            f"{tasks} × {per_task} = {counted(need.cpus, 'CPU')} per node (tasks_per_node × "
            f"cpus_per_task), but {where}; {remedy}{elsewhere}",
        )
    yield from _memory(partition, groups, plan, elsewhere)
    gpus = max(each.gpus for each in groups)
    if need.gpus > gpus:
        has = f"the nodes of {name} have at most {_gpus(groups)}" if gpus else f"{name} has none"
        remedy = f"set {gpus} or less" if gpus else "leave it out"
        yield Finding(
            "error",
            "nodes",
            "resources.gpus_per_node",
            f"{counted(need.gpus, 'GPU')} per node, but {has}; {remedy}{elsewhere}",
        )
    kinds = sorted({kind for each in groups for kind in each.gpu_types})
    if gpus and need.gpu_type is not None and need.gpu_type not in kinds:
        has = (
            f"has {', '.join(kinds)}"
            if kinds
            else "does not name the kind of its GPUs: leave it out"
        )
        yield Finding(
            "error", "nodes", "resources.gpu_type", f"{need.gpu_type}, but {name} {has}{elsewhere}"
        )
    if need.constraint is not None:
        yield from _features(need.constraint, partition, groups, facts)


def _memory(
    partition: Partition, groups: list[NodeGroup], plan: LaunchPlan, elsewhere: str
) -> Iterator[Finding]:
    need, name = Need.of(plan), partition.name
    if need.memory_mb is None:
        return
    memory = max(each.memory_mb for each in groups)
    where = f"the largest node of {name} has {memory_text(memory)}"
    limit = partition.max_mem_per_node_mb
    if limit is not None and limit < memory:
        memory, where = limit, f"{name} allows at most {memory_text(limit)} (MaxMemPerNode)"
    if need.memory_mb > memory:
        yield Finding(
            "error",
            "nodes",
            "resources.mem_per_node",
            f"{plan.resources.mem_per_node} per node, but {where}; set {memory_text(memory)} or "
            f"less{elsewhere}",
        )
        return
    per_cpu = partition.max_mem_per_cpu_mb
    if per_cpu and need.memory_mb > per_cpu * need.cpus:
        charged = -(-need.memory_mb // per_cpu)
        yield Finding(
            "warning",
            "nodes",
            "resources.mem_per_node",
            f"{plan.resources.mem_per_node} for {counted(need.cpus, 'CPU')} per node is more than "
            f"{memory_text(per_cpu)} for each (MaxMemPerCPU of {name}): SLURM would allocate and "
            f"charge {charged} CPUs; set {memory_text(per_cpu * need.cpus)} or less",
        )


def _features(
    constraint: str, partition: Partition, groups: list[NodeGroup], facts: ClusterFacts
) -> Iterator[Finding]:
    there = frozenset().union(*(each.features for each in groups))
    anywhere = frozenset().union(*(each.features for each in facts.nodes))
    for feature in feature_names(constraint):
        if feature in there:
            continue
        close = difflib.get_close_matches(feature, there, n=1)
        having = sorted({each.partition for each in facts.nodes if feature in each.features})
        if having:
            hint = f"; nodes of {listed(having)} have it"
        elif close:
            hint = f"; did you mean {close[0]}?"
        else:
            hint = f"; there are {listed(sorted(there or anywhere))}" if there else ""
        # In `a|b`, one of the two features is enough.
        satisfied = any(satisfies(each.features, constraint) for each in groups)
        yield Finding(
            "warning" if satisfied else "error",
            "nodes",
            "resources.constraint",
            f"no node of {partition.name} has the feature {feature}{hint}",
        )


def waived(plan: LaunchPlan, facts: ClusterFacts, flag: str) -> bool:
    """Whether the QOS of the run exempts it from a limit of the partition."""
    qos = facts.qos.get(plan.resources.qos or "")
    return qos is not None and flag in qos.flags


def _need_text(need: Need) -> str:
    parts = [counted(need.cpus, "CPU")]
    if need.memory_mb is not None:
        parts.append(f"{memory_text(need.memory_mb)} of memory")
    if need.gpus:
        parts.append(counted(need.gpus, "GPU"))
    if need.constraint is not None:
        parts.append(need.constraint)
    return ", ".join(parts)


def _gpus(groups: list[NodeGroup]) -> str:
    best = max(groups, key=lambda each: each.gpus)
    kind = f" ({', '.join(best.gpu_types)})" if best.gpu_types else ""
    return f"{counted(best.gpus, 'GPU')}{kind}"


def _ill(groups: list[NodeGroup]) -> str:
    return "; ".join(
        f"{each.names} {each.state}" + (f": {each.reason[:80]}" if each.reason else "")
        for each in groups
        if not each.usable
    )
