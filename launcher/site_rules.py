"""What of a config its site would refuse, found before anything is submitted. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from launcher.site_profile import PartitionLimits, PlannedSite, QosLimits
from ptycho_dist.config.faults import Fault
from ptycho_dist.config.resources import ResourcesConfig, walltime_seconds
from ptycho_dist.config.world import World

_MEGABYTES = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}


def site_faults(resources: ResourcesConfig, world: World, site: PlannedSite) -> Iterator[Fault]:
    """Each thing that the profile of the site speaks against (RC-104, RC-105).

    Args:
        resources: what is asked for.
        world: nodes and ranks that follow.
        site: limits and rules; what it does not name is not judged.
    """
    yield from _rules(resources, site)
    places: list[tuple[str, PartitionLimits | QosLimits]] = []
    if resources.partition is not None:
        names = resources.partition.split(",")  # SLURM takes the first of them that fits
        known = [site.partitions[name] for name in names if name in site.partitions]
        if len(known) == len(names):
            places.append((f"partition {resources.partition}", _widest(known)))
    if resources.qos in site.qos:
        places.append((f"QOS {resources.qos}", site.qos[str(resources.qos)]))
    for place, limits in places:
        where = f"{place} of site {site.name}"
        if limits.max_time and walltime_seconds(resources.time) > walltime_seconds(limits.max_time):
            yield Fault(
                "resources.time", f"{resources.time}, but {where} ends at {limits.max_time}"
            )
        elif shorter := _shorter_time(resources, world, limits):
            nodes, most = shorter
            yield Fault(
                "resources.time",
                f"{resources.time}, but {where} gives {most} to jobs of up to {nodes} nodes",
            )
        if limits.max_nodes and world.nodes > limits.max_nodes:
            yield Fault(
                "resources.nodes", f"{world.nodes}, but {where} gives at most {limits.max_nodes}"
            )
        if isinstance(limits, PartitionLimits):
            yield from _node_faults(resources, world, limits, where)


def _rules(resources: ResourcesConfig, site: PlannedSite) -> Iterator[Fault]:
    memory, rule = resources.mem_per_node, site.rules.mem_per_node
    if memory is not None and rule == "forbidden":
        yield Fault(
            "resources.mem_per_node",
            f"{memory}, but site {site.name} takes no --mem, and gives whole nodes; leave it out",
        )
    required = {*site.rules.required, *(["mem_per_node"] if rule == "required" else [])}
    for name in sorted(required):
        if getattr(resources, name) in (None, (), {}):
            yield Fault(f"resources.{name}", f"missing, and site {site.name} requires it")


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
    resources: ResourcesConfig, world: World, limits: PartitionLimits | QosLimits
) -> tuple[int, str] | None:
    """The step of the ladder of walltimes that a job stands on, if it asks for more than that."""
    steps = limits.max_time_up_to_nodes if isinstance(limits, PartitionLimits) else {}
    for nodes, most in sorted(steps.items()):
        if world.nodes <= nodes:
            too_long = walltime_seconds(resources.time) > walltime_seconds(most)
            return (nodes, most) if too_long else None
    return None


def _widest(limits: list[PartitionLimits]) -> PartitionLimits:
    """Of several partitions the largest of each limit; none where one of them has none."""

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


def _megabytes(memory: str) -> float:
    """SLURM's memory in MB; without a letter it is that already (sbatch(1), --mem)."""
    digits = memory.rstrip("KMGT")
    if len(digits) > 15:
        return float("inf")
    return int(digits) * _MEGABYTES[memory[len(digits) :] or "M"]
