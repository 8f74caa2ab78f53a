"""The cluster environment that Lightning sees, however the ranks were started."""

from __future__ import annotations

from lightning.fabric.plugins.environments import ClusterEnvironment

from ptycho_dist.attempts.attempt import Attempt
from ptycho_dist.runtime.environment import RankEnvironment


class JoinedCluster(ClusterEnvironment):
    """Tells Lightning what the rank already knows; it starts nothing and reads no variables."""

    def __init__(self, environment: RankEnvironment, attempt: Attempt) -> None:
        """Keep the place of this rank, and the attempt, which names rank 0's address."""
        super().__init__()
        self._environment = environment
        self._attempt = attempt

    @property
    def creates_processes_externally(self) -> bool:
        """True: all ranks were started before Lightning."""
        return True

    @property
    def main_address(self) -> str:
        """The host of rank 0."""
        return self._attempt.host

    @property
    def main_port(self) -> int:
        """The port of rank 0's store."""
        return self._attempt.port

    @staticmethod
    def detect() -> bool:
        """Return False: this environment is always passed, never found."""
        return False

    def world_size(self) -> int:
        """Return the number of ranks."""
        return self._environment.world_size

    def set_world_size(self, size: int) -> None:
        """Do nothing: the number of ranks is known."""

    def global_rank(self) -> int:
        """Return the number of this rank in the world."""
        return self._environment.rank

    def set_global_rank(self, rank: int) -> None:
        """Do nothing: the number of this rank is known."""

    def local_rank(self) -> int:
        """Return the number of this rank on its node."""
        return self._environment.local_rank

    def node_rank(self) -> int:
        """Return the number of this node in the job."""
        return self._environment.node_rank
