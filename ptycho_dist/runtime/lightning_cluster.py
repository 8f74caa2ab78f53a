"""The one ClusterEnvironment that Lightning sees, wherever the ranks came from."""

from __future__ import annotations

from lightning.fabric.plugins.environments import ClusterEnvironment

from ptycho_dist.attempts.attempt import Attempt
from ptycho_dist.runtime.environment import RankEnvironment


class JoinedCluster(ClusterEnvironment):
    """Tells Lightning what the rank already knows; it starts nothing and reads no variables."""

    def __init__(self, environment: RankEnvironment, attempt: Attempt) -> None:
        super().__init__()
        self._environment = environment
        self._attempt = attempt

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self._attempt.host

    @property
    def main_port(self) -> int:
        return self._attempt.port

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._environment.world_size

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self._environment.rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self._environment.local_rank

    def node_rank(self) -> int:
        return self._environment.node_rank
