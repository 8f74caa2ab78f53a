"""A rank that has started and has not joined the other ranks yet."""

from __future__ import annotations

from dataclasses import dataclass, field

from ptycho_dist.attempts.attempt import Attempt
from ptycho_dist.config.run import RunConfig
from ptycho_dist.legacy import LegacyScope
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.run_plan import RunPlan
from ptycho_dist.runtime.environment import RankEnvironment
from ptycho_dist.runtime.rank_heartbeat import RankHeartbeat
from ptycho_dist.runtime.start_up import StartUp
from ptycho_dist.runtime.stop import StopRequest


@dataclass(frozen=True)
class StartedRank:
    """What a rank knows before torch is imported and before it meets the others."""

    run: RunDirectory
    plan: RunPlan
    config: RunConfig
    environment: RankEnvironment
    attempt: Attempt
    heartbeat: RankHeartbeat
    stop: StopRequest
    scope: LegacyScope
    """The legacy globals, which hold the values of the config while the rank runs."""
    start_up: StartUp = field(default_factory=StartUp)
    """Measures the time before training, part by part."""
