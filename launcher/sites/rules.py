"""Checks a config against the limits and rules of its site. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from launcher.sites.profile import PartitionLimits, PlannedSite, QosLimits
from ptycho_dist.config.faults import Fault
from ptycho_dist.config.resources import ResourcesConfig, memory_mb, walltime_seconds
from ptycho_dist.config.world import World


def site_faults(resources: ResourcesConfig, world: World, site: PlannedSite) -> Iterator[Fault]:
    """Yield every request that the site would refuse (RC-104).

    Args:
        resources: the request.
        world: the nodes and ranks that follow from it.
        site: limits and rules. Limits that it does not name are not checked; limits of a QOS
            replace those of the partition.
    """
    yield from _rules(resources, site)
    qos = site.qos.get(resources.qos or "", QosLimits())
    partition = _partition(resources, site)
    of_qos = f"QOS {resources.qos} of site {site.name}"
    of_partition = f"partition {resources.partition} of site {site.name}"
    where, most_time = (of_qos, qos.max_time)
    if most_time is None:
        where, most_time = of_partition, partition.max_time
    if most_time and walltime_seconds(resources.time) > walltime_seconds(most_time):
        yield Fault("resources.time", f"{resources.time}, but {where} allows at most {most_time}")
    elif qos.max_time is None and (step := _shorter_time(resources, world, partition)):
        nodes, most_time = step
        yield Fault(
            "resources.time",
            f"{resources.time}, but {where} allows {most_time} for jobs of up to {nodes} nodes",
        )
    where, most = (of_qos, qos.max_nodes) if qos.max_nodes else (of_partition, partition.max_nodes)
    if most and world.nodes > most:
        yield Fault("resources.nodes", f"{world.nodes}, but {where} allows at most {most}")
    yield from _node_faults(resources, world, partition, of_partition)


def _partition(resources: ResourcesConfig, site: PlannedSite) -> PartitionLimits:
    """Return the limits of the requested partition.

    SLURM chooses the first of several partitions that fits, so the largest of each limit applies.
    There are no limits if the profile does not know one of the partitions.
    """
    names = (resources.partition or "").split(",")
    known = [site.partitions[name] for name in names if name in site.partitions]
    return _widest(known) if len(known) == len(names) else PartitionLimits()


def _rules(resources: ResourcesConfig, site: PlannedSite) -> Iterator[Fault]:
    memory, rule = resources.mem_per_node, site.rules.mem_per_node
    if memory is not None and rule == "forbidden":
        yield Fault(
            "resources.mem_per_node",
            f"{memory}, but site {site.name} gives whole nodes and does not accept --mem; omit it",
        )
    required = {*site.rules.required, *(["mem_per_node"] if rule == "required" else [])}
    for name in sorted(required):
        if getattr(resources, name) in (None, (), {}):
            yield Fault(f"resources.{name}", f"missing, but site {site.name} requires it")


def _node_faults(
    resources: ResourcesConfig, world: World, limits: PartitionLimits, where: str
) -> Iterator[Fault]:
    gpus, cpus = resources.gpus_per_node, world.tasks_per_node * resources.cpus_per_task
    if gpus is not None and limits.gpus_per_node is not None and gpus > limits.gpus_per_node:
        has = limits.gpus_per_node or "none"
        yield Fault("resources.gpus_per_node", f"{gpus}, but a node in {where} has {has}")
    if limits.cpus_per_node is not None and cpus > limits.cpus_per_node:
        yield Fault(
            "resources.cpus_per_task",
            f"{world.tasks_per_node} ranks × {resources.cpus_per_task} CPUs are {cpus} per node, "
            f"but a node in {where} has {limits.cpus_per_node}",
        )
    memory = resources.mem_per_node
    if memory and limits.mem_per_node and _megabytes(memory) > _megabytes(limits.mem_per_node):
        yield Fault(
            "resources.mem_per_node",
            f"{memory}, but a node in {where} has {limits.mem_per_node}",
        )


def _shorter_time(
    resources: ResourcesConfig, world: World, limits: PartitionLimits
) -> tuple[int, str] | None:
    """Return nodes and walltime of the size limit that a job exceeds; None: it exceeds none."""
    for nodes, most in sorted(limits.max_time_up_to_nodes.items()):
        if world.nodes <= nodes:
            too_long = walltime_seconds(resources.time) > walltime_seconds(most)
            return (nodes, most) if too_long else None
    return None


def _widest(limits: list[PartitionLimits]) -> PartitionLimits:
    """Return the largest of each limit of several partitions; None where one has no limit."""
    if len(limits) == 1:
        return limits[0]

    def largest(name: str, size: Any = lambda value: value) -> Any:
        values = [getattr(each, name) for each in limits]
        return None if None in values else max(values, key=size)

    return PartitionLimits(
        max_time=largest("max_time", walltime_seconds),
        max_nodes=largest("max_nodes"),
        cpus_per_node=largest("cpus_per_node"),
        gpus_per_node=largest("gpus_per_node"),
        mem_per_node=largest("mem_per_node", _megabytes),
    )


def _megabytes(memory: str) -> int:
    """Megabytes of an amount that was checked when the config or the profile was read."""
    return memory_mb(memory) or 0
