"""The plan of a run: everything that follows from its config before anything is submitted.

Pure: the caller passes the facts of the data files, and other modules ask the cluster.
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
"""Stands for the number of patterns of an unreadable file: enough for any number of ranks."""


@dataclass(frozen=True, kw_only=True)
class LaunchPlan:
    """A run as it will be submitted (specs/launch_plan.md)."""

    name: str
    """Name of the run."""
    world: World
    """The world-size contract."""
    accelerator: str
    """As in the config; each rank resolves `auto` for itself."""
    resources: ResourcesConfig
    """The request to the scheduler."""
    walltime_s: int
    """Walltime of an attempt in seconds."""
    signal_lead_s: int
    """How many seconds before the walltime the ranks are asked to stop."""
    requeue: RequeueConfig
    """When the run restarts by itself."""
    measured: Measured | None
    """Times from which the lead was computed; None: nothing was measured yet."""
    python: Path
    """Interpreter of the ranks."""
    modules: tuple[str, ...]
    """Environment modules to load."""
    variables: Mapping[str, str]
    """Environment variables of the ranks."""
    setup: tuple[str, ...]
    """Shell lines that run before the ranks."""
    config: RunConfig
    """The config of the plan."""
    snapshot: bool
    """Whether the ranks run a copy of the code in the run directory."""
    origins: Mapping[str, str]
    """Field path → where the value of the config came from."""
    site: PlannedSite | None = None
    """Limits and rules of the site; None: the config names no site."""
    drill: Mapping[str, Any] | None = None
    """Interruptions of a drill; None: an ordinary run."""
    measurement: MeasurementPlan | None = None
    """What a run of a scaling study measures; None: an ordinary run."""

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
    """Make the plan of a checked config, or refuse it.

    Args:
        loaded: the config with its origins.
        train: facts of the training file; None: it cannot be read, as `data_faults` says.
        test: facts of the validation file; None: there is none, or it cannot be read.
        data_faults: faults of the data files.
        measured: times of this run, or of an earlier run like it.
        site: limits and rules of the site that the config names.

    Raises:
        ConfigError: with every contradiction in the config and every fault of its files.
    """
    config = loaded.config
    faults = list(data_faults)
    world = world_of(config, _UNKNOWN_PATTERNS if train is None else train.n_patterns)
    faults += contradictions(config, world, train, test, measured)
    faults += container_faults(config)
    if site is not None:
        # Imported late: it takes as long as the rest of a plan.
        from launcher.sites.rules import site_faults

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
    """Add the site to faults of values that come from its profile: they are not in run.yaml."""
    origin = origins.get(fault.path, "")
    return Fault(fault.path, f"{fault.message} [{origin}]") if origin.startswith("site ") else fault


def _missing_logger_package(config: RunConfig) -> str:
    """Return why the logger's package is missing; empty: it is installed, or only ranks can tell.

    The ranks may use another Python or find more packages; then each rank checks for itself.
    """
    place = config.environment
    if place.venv or place.modules or place.setup or place.env or place.container:
        return ""
    return missing_logger_package(config.execution.logger_backend)
