"""A config and a grid of sizes → the plan of every run of a study, or every fault of all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from launcher.arrays.plan import ArrayPlan, MemberFaults, PlannedMember
from launcher.planning.earlier_runs import measured_before
from launcher.planning.load import FactsReader, facts_of, facts_or_error, plan_config
from launcher.planning.plan import LaunchPlan
from launcher.scaling.study.definition import BaseSetup, Point, Study
from launcher.scaling.study.points import mode_text, point_name, points_of, variants_of
from launcher.scaling.study.request import StudyRequest
from launcher.sites.reader import SiteReader
from ptycho_dist.config.faults import ConfigError
from ptycho_dist.config.load import LoadedConfig, read_run_config, read_run_configs
from ptycho_dist.config.plain_data import config_digest
from ptycho_dist.config.world import World, world_of


@dataclass(frozen=True)
class PlannedStudy:
    """A checked study, of which nothing has been created yet."""

    study: Study
    members: list[PlannedMember]
    """The members in the order of their points."""
    at_once: int

    @property
    def node_hours(self) -> float:
        """The largest cost if each run starts once: Σ nodes × walltime, in node-hours."""
        return sum(node_hours(member.plan) for member in self.members)

    @property
    def array(self) -> ArrayPlan:
        """The array that the runs of the study form."""
        study = self.study
        axes: dict[str, list[Any]] = {
            "resources.nodes": list(study.nodes),
            "resources.tasks_per_node": list(study.tasks_per_node),
            "mode": sorted({mode_text(point.modes) for point in study.points}),
            "repeat": list(range(study.repeats)),
        }
        return ArrayPlan(axes, self.members, self.at_once)


def node_hours(plan: LaunchPlan) -> float:
    """Nodes × walltime of one run, in node-hours."""
    return plan.world.nodes * plan.walltime_s / 3600


def plan_study(
    config: Path,
    overrides: Sequence[str],
    request: StudyRequest,
    cluster: str,
    runs_root: Path,
) -> PlannedStudy:
    """Check and plan every run of a study; nothing is created.

    Args:
        config: run.yaml.
        overrides: `--set` texts that apply to all runs.
        request: the grid of sizes, and how each is measured.
        cluster: `slurm` or `local`.
        runs_root: folder of earlier runs, whose measured times the plans use.

    Raises:
        UserError: the file is not valid YAML.
        ConfigError: with the faults of the config, or else of all sizes, each with size and mode.
    """
    read_facts, sites = cache(facts_or_error), SiteReader()
    loaded, base = _base(config, overrides, read_facts, sites)
    learning_rate = loaded.config.execution.learning_rate
    variants, impossible = variants_of(base, learning_rate, request)
    points = points_of(variants, base, loaded.config, request)
    faults = MemberFaults(len(variants) + len(impossible), "every size")
    for name, fault in impossible:
        faults.add(name, [fault])
    members: dict[int, PlannedMember] = {}
    # The runs of one size are alike, unless a seed sets them apart: each is read and planned once.
    alike: dict[str, list[Point]] = {}
    for point in points:
        alike.setdefault(repr(sorted(point.overrides.items())), []).append(point)
    by_size = sorted(alike.values(), key=lambda same: (same[0].repeat, same[0].ranks))
    read = read_run_configs(
        config, overrides, [same[0].overrides for same in by_size], sites, "scale"
    )
    for same, of_point in zip(by_size, read, strict=True):
        first = same[0]
        try:
            measured = None
            if of_point.loaded is not None:
                measured = measured_before(runs_root, of_point.loaded.config)
            own, plan = plan_config(of_point, sites.site, measured, read_facts)
        except ConfigError as error:
            if first.repeat == 0:
                name = point_name(first.nodes, first.tasks_per_node, first.modes)
                faults.add(name, error.faults)
            continue
        plan = replace(plan, measurement=request.measurement)
        members |= {point.index: PlannedMember(_values(point), own, plan) for point in same}
    faults.raise_any(str(config))
    study = Study(
        name=loaded.config.name,
        created_at=time.time(),
        cluster=cluster,
        command=_command(config, overrides, request, cluster),
        config_sha256=config_digest(loaded.config),
        base=_of_base(base, learning_rate),
        modes=request.modes,
        nodes=request.nodes,
        tasks_per_node=request.tasks_per_node or (base.tasks_per_node,),
        repeats=request.repeats,
        seed=request.seed,
        lr_rule=request.lr_rule,
        measurement=request.measurement,
        points=points,
    )
    return PlannedStudy(study, [members[point.index] for point in points], request.at_once)


def _base(
    config: Path, overrides: Sequence[str], read_facts: FactsReader, sites: SiteReader
) -> tuple[LoadedConfig, World]:
    """The config that the points change, with its world; its faults affect every point."""
    read = read_run_config(config, overrides, sites)
    facts, data_faults = facts_of(read.data_files, read_facts)
    faults = [*read.faults, *data_faults]
    if faults or read.loaded is None:
        raise ConfigError(read.source, faults)
    return read.loaded, world_of(read.loaded.config, facts["train_data_file"].n_patterns)


def _values(point: Point) -> dict[str, Any]:
    return {
        "resources.nodes": point.nodes,
        "resources.tasks_per_node": point.tasks_per_node,
        "mode": mode_text(point.modes),
        "repeat": point.repeat,
    }


def _of_base(world: World, learning_rate: float) -> BaseSetup:
    return BaseSetup(
        ranks=world.ranks,
        batch_size=world.batch_size,
        accum_steps=world.accum_steps,
        global_batch=world.global_batch,
        learning_rate=learning_rate,
        samples=world.samples,
        epochs=world.epochs,
    )


def _command(
    config: Path, overrides: Sequence[str], request: StudyRequest, cluster: str
) -> tuple[str, ...]:
    """The command that repeats the study, with every choice explicit, defaults included."""
    sets = [word for override in overrides for word in ("--set", override)]
    return (
        "ptycho-launch",
        "scale",
        str(config),
        *request.words(),
        *sets,
        "--cluster",
        cluster,
    )
