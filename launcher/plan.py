"""RunConfig → LaunchPlan: everything that follows from the config, before anything is submitted.

Pure. What the training file holds comes in as a number; what a cluster can give is asked
elsewhere.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptycho_dist.config.load import ConfigError, Fault, LoadedConfig
from ptycho_dist.config.resources import ResourcesConfig, walltime_seconds
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.world import World, world_of

_UNKNOWN_PATTERNS = 10**12
"""In place of the number in a file that cannot be read: enough for any number of ranks."""


@dataclass(frozen=True, kw_only=True)
class LaunchPlan:
    """A run as it will be submitted (specs/launch_plan.md)."""

    name: str
    world: World
    accelerator: str
    """As the config says it; `auto` stays `auto` until the rank."""
    resources: ResourcesConfig
    walltime_s: int
    signal_lead_s: int
    python: Path
    """The interpreter of the ranks."""
    modules: tuple[str, ...]
    variables: Mapping[str, str]
    setup: tuple[str, ...]
    origins: Mapping[str, str]
    """Where each value of the config came from."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for plan.json and `plan --json`."""
        return {
            "name": self.name,
            "world": self.world.to_json(),
            "accelerator": self.accelerator,
            "resources": dataclasses.asdict(self.resources),
            "walltime_s": self.walltime_s,
            "signal_lead_s": self.signal_lead_s,
            "python": str(self.python),
            "modules": list(self.modules),
            "variables": dict(self.variables),
            "setup": list(self.setup),
            "origins": dict(self.origins),
        }


@dataclass(frozen=True)
class DataFacts:
    """What the header of a data file says."""

    n_patterns: int
    N: int


def make_plan(
    loaded: LoadedConfig,
    train: DataFacts | None,
    test: DataFacts | None,
    data_faults: Sequence[Fault] = (),
) -> LaunchPlan:
    """Work out the plan of a checked config, or refuse it.

    Args:
        loaded: the config with its origins.
        train: what the training file holds; None: it cannot be read, as `data_faults` says.
        test: what the validation file holds, where there is one that can be read.
        data_faults: what is wrong with the files.

    Raises:
        ConfigError: with every contradiction that the config holds, and the faults of its files.
    """
    config = loaded.config
    faults = list(data_faults)
    world = world_of(config, _UNKNOWN_PATTERNS if train is None else train.n_patterns)
    faults += _contradictions(config, world, train, test)
    if faults or train is None:
        raise ConfigError(loaded.source, faults)
    venv = config.environment.venv
    return LaunchPlan(
        name=config.name,
        world=world,
        accelerator=config.execution.accelerator,
        resources=config.resources,
        walltime_s=walltime_seconds(config.resources.time),
        signal_lead_s=config.requeue.signal_lead_s,
        python=venv / "bin" / "python" if venv else Path(sys.executable),
        modules=config.environment.modules,
        variables=config.environment.env,
        setup=config.environment.setup,
        origins=loaded.origins,
    )


def _contradictions(
    config: RunConfig, world: World, train: DataFacts | None, test: DataFacts | None
) -> Iterator[Fault]:
    resources, execution, data = config.resources, config.execution, config.data
    gpus, tasks = resources.gpus_per_node, resources.tasks_per_node
    if gpus is not None and tasks is not None and gpus != tasks and execution.accelerator != "cpu":
        yield Fault(
            "resources.tasks_per_node",
            f"{tasks} ranks per node and {gpus} GPUs per node; one rank drives one GPU: "
            "make them equal, or leave tasks_per_node out",
        )
    if gpus is not None and execution.accelerator == "cpu":
        yield Fault(
            "resources.gpus_per_node",
            f"{gpus} GPUs are asked for and execution.accelerator is cpu; leave one of them out",
        )
    if gpus is None and execution.accelerator in {"gpu", "cuda"}:
        yield Fault(
            "resources.gpus_per_node",
            f"execution.accelerator is {execution.accelerator} and no GPU is asked for; "
            "set gpus_per_node, or accelerator: auto",
        )
    if execution.accelerator == "mps" and world.ranks > 1:
        yield Fault(
            "execution.accelerator", f"mps cannot join {world.ranks} ranks; use cpu or one rank"
        )
    if execution.accelerator == "tpu":
        yield Fault("execution.accelerator", "tpu is not supported; use auto, cpu or cuda")
    walltime = walltime_seconds(resources.time)
    lead = config.requeue.signal_lead_s
    if lead >= walltime:
        yield Fault(
            "requeue.signal_lead_s",
            f"{lead} s before the end of a walltime of {walltime} s: nothing would run; "
            "raise resources.time or lower the lead",
        )
    if data.n_groups is not None and train is not None and data.n_groups > train.n_patterns:
        yield Fault(
            "data.n_groups",
            f"{data.n_groups} groups, but {data.train_data_file} holds {train.n_patterns} patterns",
        )
    if world.ranks > world.samples:
        yield Fault(
            "resources.nodes",
            f"{world.ranks} ranks share {world.samples} samples: some would never get one; "
            "use fewer ranks",
        )
    channels = config.model.gridsize**2
    if channels > 1 and data.neighbor_count < channels:
        yield Fault(
            "data.neighbor_count",
            f"{data.neighbor_count} neighbours for groups of {channels} (model.gridsize "
            f"{config.model.gridsize}); at least {channels} are needed",
        )
    for field, facts in (("train_data_file", train), ("test_data_file", test)):
        if facts is None:
            continue
        if facts.N != config.model.N:
            yield Fault(
                "model.N",
                f"{config.model.N}, but {getattr(data, field)} holds patterns of "
                f"{facts.N} × {facts.N} pixels",
            )
        if data.block_size is not None and facts.n_patterns < data.block_size:
            yield Fault(
                "data.block_size",
                f"{data.block_size} patterns a block, but data.{field} holds only "
                f"{facts.n_patterns}",
            )
        if channels > 1 and facts.n_patterns <= data.neighbor_count:
            yield Fault(
                "data.neighbor_count",
                f"{data.neighbor_count} neighbours, but data.{field} holds only "
                f"{facts.n_patterns} patterns",
            )
    if config.training.nll_weight == 0 and config.training.mae_weight == 0:
        yield Fault("training.nll_weight", "both loss weights are 0: there is nothing to learn")
