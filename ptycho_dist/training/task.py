"""What one rank is to train in one attempt, as all parts of the training need it."""

from __future__ import annotations

from dataclasses import dataclass

from ptycho_dist.config.monitor import Monitor, monitor_of
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.world import World
from ptycho_dist.legacy import LegacyScope, require_same_on_all_ranks
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.run_plan import RunPlan
from ptycho_dist.runtime.joined_rank import JoinedRank


@dataclass(frozen=True)
class TrainingTask:
    """One attempt of a run on one rank: what is trained, and among which ranks."""

    run: RunDirectory
    plan: RunPlan
    config: RunConfig
    """The config of the run, which names the data files as the user does, not their copies."""
    rank: JoinedRank
    scope: LegacyScope
    """The legacy globals, which hold the values of the config during the training."""

    @property
    def world(self) -> World:
        """Counts of nodes, ranks, batches and steps, as the plan fixed them."""
        return self.plan.world

    @property
    def monitor(self) -> Monitor:
        """The loss that early stopping, schedule and the choice of the best checkpoint look at."""
        return monitor_of(self.config)

    def require_same_globals(self, when: str) -> None:
        """Compare the legacy globals of all ranks, which call this together.

        Args:
            when: what comes next, in words, for the message.

        Raises:
            LegacyError: they are no longer those of the config, or differ between ranks.
        """
        require_same_on_all_ranks(self.scope, self.rank.agreement.texts, when)
