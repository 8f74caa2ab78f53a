"""A rank that has joined: its place, its agreement with other ranks, its ledger and heartbeat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ptycho_dist.rundir.ledger import LedgerWriter
from ptycho_dist.runtime.accelerator import Device
from ptycho_dist.runtime.agreement import Agreement
from ptycho_dist.runtime.environment import RankEnvironment
from ptycho_dist.runtime.rank_heartbeat import RankHeartbeat
from ptycho_dist.runtime.rendezvous import JoinedWorld
from ptycho_dist.runtime.start_up import StartUp
from ptycho_dist.runtime.stop import StopRequest


@dataclass(frozen=True)
class JoinedRank:
    """The rank on which a training runs."""

    environment: RankEnvironment
    joined: JoinedWorld
    device: Device
    agreement: Agreement
    stop: StopRequest
    ledger: LedgerWriter
    heartbeat: RankHeartbeat
    moved: Callable[[str], None]
    """Notes for the guard where the main thread is; all ranks call it in the same order."""
    alive: Callable[[], None]
    """Notes for the guard that the main thread still works at the same place."""
    start_up: StartUp = field(default_factory=StartUp)
    """Measures the time before training, part by part."""

    @property
    def rank(self) -> int:
        """Number of this rank in the world."""
        return self.environment.rank

    def record_stop(self, step: int) -> None:
        """Note that this rank has stopped, and whether it was the one that was asked."""
        if self.stop.requested:
            self.ledger.append("stop_requested", signal=self.stop.reason)
        self.ledger.append("stopped", step=step)
        self.heartbeat.write("stopped", step=step)
