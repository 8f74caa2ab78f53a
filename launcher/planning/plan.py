"""RunConfig → LaunchPlan: everything that follows from the config, before anything is submitted.

Pure. What the training file holds comes in as a number; what a cluster can give is asked
elsewhere.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho_dist.attempts.containers import container_faults
from ptycho_dist.config.contradictions import DataFacts, contradictions
from ptycho_dist.config.faults import ConfigError, Fault
from ptycho_dist.config.lead import Measured, planned_lead
from ptycho_dist.config.load import LoadedConfig
from ptycho_dist.config.logger_package import missing_logger_package
from ptycho_dist.config.resources import RequeueConfig, ResourcesConfig, walltime_seconds
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.world import World, world_of
from ptycho_dist.rundir.measurement_plan import MeasurementPlan
from ptycho_dist.rundir.run_plan import RunPlan

if TYPE_CHECKING:
    from launcher.sites.profile import PlannedSite

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
    requeue: RequeueConfig
    measured: Measured | None
    """What the lead was worked out from; None: nothing was measured yet."""
    python: Path
    """The interpreter of the ranks."""
    modules: tuple[str, ...]
    variables: Mapping[str, str]
    setup: tuple[str, ...]
    config: RunConfig
    """What the plan was made of."""
    snapshot: bool
    """The ranks run the copy of the code in the run directory."""
    origins: Mapping[str, str]
    """Where each value of the config came from."""
    site: PlannedSite | None = None
    """The limits and rules that it was planned by."""
    drill: Mapping[str, Any] | None = None
    """Of a drill: what shall befall the ranks."""
    measurement: MeasurementPlan | None = None
    """Of a scaling study: how long it measures; None: an ordinary run."""

    def run_plan(self) -> RunPlan:
        """What plan.json records of it; the caller adds data fingerprints and frozen code."""
        return RunPlan(
            name=self.name,
            world=self.world,
            accelerator=self.accelerator,
            resources=dataclasses.asdict(self.resources),
            walltime_s=self.walltime_s,
            signal_lead_s=self.signal_lead_s,
            requeue=dataclasses.asdict(self.requeue),
            measured=self.measured,
            python=str(self.python),
            modules=self.modules,
            variables=self.variables,
            setup=self.setup,
            snapshot=self.snapshot,
            origins=self.origins,
            site=None if self.site is None else self.site.to_json(),
            drill=self.drill,
            measurement=self.measurement,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for `plan --json`."""
        data = self.run_plan().to_json()
        del data["format"]
        return data


def make_plan(
    loaded: LoadedConfig,
    train: DataFacts | None,
    test: DataFacts | None,
    data_faults: Sequence[Fault] = (),
    measured: Measured | None = None,
    site: PlannedSite | None = None,
) -> LaunchPlan:
    """Work out the plan of a checked config, or refuse it.

    Args:
        loaded: the config with its origins.
        train: what the training file holds; None: it cannot be read, as `data_faults` says.
        test: what the validation file holds, where there is one that can be read.
        data_faults: what is wrong with the files.
        measured: times of this run, or of an earlier one like it.
        site: limits and rules of the site that the config names.

    Raises:
        ConfigError: with every contradiction that the config holds, and the faults of its files.
    """
    config = loaded.config
    faults = list(data_faults)
    world = world_of(config, _UNKNOWN_PATTERNS if train is None else train.n_patterns)
    faults += contradictions(config, world, train, test, measured)
    faults += container_faults(config)
    if site is not None:
        from launcher.sites.rules import site_faults  # costs as much as the rest of a plan

        faults += site_faults(config.resources, world, site)
    if missing := _missing_logger_package(config):
        faults.append(Fault("execution.logger_backend", missing))
    if faults or train is None:
        raise ConfigError(loaded.source, [_with_origin(fault, loaded.origins) for fault in faults])
    venv = config.environment.venv
    return LaunchPlan(
        name=config.name,
        world=world,
        accelerator=config.execution.accelerator,
        resources=config.resources,
        walltime_s=walltime_seconds(config.resources.time),
        signal_lead_s=planned_lead(config.requeue, measured),
        requeue=config.requeue,
        measured=measured,
        python=venv / "bin" / "python" if venv else Path(sys.executable),
        modules=config.environment.modules,
        variables=config.environment.env,
        setup=config.environment.setup,
        config=config,
        snapshot=config.environment.snapshot,
        origins=loaded.origins,
        site=site,
    )


def _with_origin(fault: Fault, origins: Mapping[str, str]) -> Fault:
    """A value that nobody wrote into run.yaml is hard to find there."""
    origin = origins.get(fault.path, "")
    return Fault(fault.path, f"{fault.message} [{origin}]") if origin.startswith("site ") else fault


def _missing_logger_package(config: RunConfig) -> str:
    """Empty, too, where the ranks have another Python or may find more: there each rank looks."""
    place = config.environment
    if place.venv or place.modules or place.setup or place.env or place.container:
        return ""
    return missing_logger_package(config.execution.logger_backend)
