"""Plans every member of an array from a config and its axes, or reports all their faults."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from launcher.arrays.grid import grid, parse_axes
from launcher.planning.load import facts_or_error, plan_config
from launcher.planning.plan import LaunchPlan
from launcher.planning.script import render
from launcher.sites.reader import SiteReader
from ptycho_dist.config.faults import ConfigError, Fault
from ptycho_dist.config.load import LoadedConfig, read_run_configs
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import index_width

_SHOWN = 40
"""Number of faults that are listed; more are counted."""


@dataclass(frozen=True)
class PlannedMember:
    """One member, planned but not yet made."""

    values: dict[str, Any]
    """Field path → value, for the axes of the array."""
    loaded: LoadedConfig
    plan: LaunchPlan


@dataclass(frozen=True)
class ArrayPlan:
    """A grid of runs that share one batch script."""

    axes: dict[str, list[Any]]
    members: list[PlannedMember]
    throttle: int | None

    @property
    def shared(self) -> LaunchPlan:
        """The plan of the first member; what the batch script says of it holds for all."""
        return self.members[0].plan


def plan_array(
    config: Path,
    overrides: Sequence[str],
    axes_texts: Sequence[str],
    throttle: int | None = None,
) -> ArrayPlan:
    """Check and plan every member; nothing is written.

    Times that earlier runs measured are not used, since they hold for one batch size only.

    Args:
        config: run.yaml.
        overrides: `--set` texts, for all members.
        axes_texts: `--array` texts.
        throttle: how many members of a job array may run at once; None: as many as SLURM starts.

    Raises:
        UserError: the axes or the throttle are not valid, or the file is not YAML.
        ConfigError: lists the faults of all members, each with member and field.
    """
    if throttle is not None and throttle < 1:
        raise UserError(f"--throttle {throttle}: at least one member must run at once")
    if not axes_texts:
        raise UserError(
            f"--throttle {throttle} limits the members of --array, and there is no --array"
        )
    axes = parse_axes(axes_texts, overrides)
    all_values = list(grid(axes))
    read_facts, sites = cache(facts_or_error), SiteReader()
    faults, width = MemberFaults(len(all_values), "every member"), index_width(len(all_values))
    members = []
    for index, (values, read) in enumerate(
        zip(all_values, read_run_configs(config, overrides, all_values, sites), strict=True)
    ):
        try:
            loaded, plan = plan_config(read, sites.site, read_facts=read_facts)
        except ConfigError as error:
            name = f"member {index:0{width}d} ({values_text(values)})"
            faults.add(name, error.faults)
            continue
        members.append(PlannedMember(values, loaded, plan))
    faults.raise_any(str(config))
    _require_one_script(str(config), members)
    return ArrayPlan(axes, members, throttle)


class MemberFaults:
    """Faults of members; a fault that several members share is listed once.

    Args:
        members: number of members.
        all_of_them: what to call them when all have the fault.
    """

    def __init__(self, members: int, all_of_them: str) -> None:
        self._members = members
        self._all = all_of_them
        self._found: dict[tuple[str, str], list[str]] = {}

    def add(self, name: str, faults: Sequence[Fault]) -> None:
        """Add the faults of one member, which is called `name`."""
        for fault in faults:
            self._found.setdefault((fault.path, fault.message), []).append(name)

    def raise_any(self, source: str) -> None:
        """Raise a ConfigError if there is a fault."""
        listed = []
        for (path, message), names in list(self._found.items())[:_SHOWN]:
            who = names[0]
            if len(names) == self._members and self._members > 1:
                who = self._all
            elif len(names) > 1:
                who = f"{names[0]} and {len(names) - 1} more"
            listed.append(Fault(path, f"{message} [{who}]"))
        if len(self._found) > _SHOWN:
            listed.append(Fault("", f"and {len(self._found) - _SHOWN} more faults"))
        if listed:
            raise ConfigError(source, listed)


def _require_one_script(source: str, members: Sequence[PlannedMember]) -> None:
    """Check that all members need the same batch script, since a job array has only one."""
    first = members[0]
    place = Path("/member")  # the same for all, so that paths make no difference
    wanted = render(first.plan, place)
    width = index_width(len(members))
    for index, member in enumerate(members):
        one, other = member.plan.world, first.plan.world
        size = (one.nodes, one.tasks_per_node, one.threads_per_rank)
        who = f"member {index:0{width}d} ({values_text(member.values)})"
        if size != (other.nodes, other.tasks_per_node, other.threads_per_rank):
            raise ConfigError(
                source,
                [
                    Fault(
                        "--array",
                        f"{who} has {one.nodes} nodes × {one.tasks_per_node} tasks, the first "
                        f"member {other.nodes} × {other.tasks_per_node}: the members of an array "
                        "share one world size; submit such runs one by one",
                    )
                ],
            )
        if render(member.plan, place) != wanted:
            raise ConfigError(
                source,
                [Fault("--array", f"{who} needs another batch script than the first member")],
            )


def values_text(values: Mapping[str, Any]) -> str:
    """The values of a member as a person reads them: `training.batch_size=16 name=fly`."""
    return " ".join(
        f"{path}={value if isinstance(value, str) else json.dumps(value, default=str)}"
        for path, value in values.items()
    )
