"""A rank that has joined: its place, and by what it speaks to the others and to people."""

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
    """What a training needs of the rank that it runs on."""

    environment: RankEnvironment
    joined: JoinedWorld
    device: Device
    agreement: Agreement
    stop: StopRequest
    ledger: LedgerWriter
    heartbeat: RankHeartbeat
    moved: Callable[[str], None]
    """Says where the main thread is; to be called by all ranks in the same order."""
    alive: Callable[[], None]
    """Says that the main thread is at work, within one such place; as often as one likes."""
    start_up: StartUp = field(default_factory=StartUp)
    """What has passed since the start of the process."""

    @property
    def rank(self) -> int:
        """Of the world."""
        return self.environment.rank

    def say_stopped(self, step: int) -> None:
        """Note that this rank has stopped, and whether it was the one that was asked."""
        if self.stop.requested:
            self.ledger.append("stop_requested", signal=self.stop.reason)
        self.ledger.append("stopped", step=step)
        self.heartbeat.say("stopped", step=step)
