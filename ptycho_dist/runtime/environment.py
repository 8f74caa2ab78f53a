"""Which rank this process is: from SLURM, torchrun or the local cluster, in one form."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from ptycho_dist.config.world import World
from ptycho_dist.errors import UserError


@dataclass(frozen=True)
class RankEnvironment:
    """The place of one process in its job."""

    rank: int
    world_size: int
    local_rank: int
    """Counted on the node; the index of the rank's GPU."""
    node_rank: int
    node: str
    source: str
    """`slurm`, `torchrun`, `local` or `single`."""
    host: str | None = None
    """Where rank 0 opens its store, where the source says so (torchrun)."""
    port: int | None = None
    nodes: int = 1
    """Of the job step, or of torchrun."""
    step: str | None = None
    """SLURM's number of the job step."""

    @classmethod
    def detect(cls, environ: Mapping[str, str] = os.environ) -> RankEnvironment:
        """Read the environment of this process.

        torchrun wins over SLURM (it may run inside a job step), a SLURM step over RANK and
        WORLD_SIZE (which may be left over in a login shell).

        Raises:
            UserError: the variables are there but make no sense.
        """
        try:
            if "TORCHELASTIC_RUN_ID" in environ:
                return cls._from_torch(environ, "torchrun")
            if "SLURM_PROCID" in environ and "SLURM_STEP_ID" in environ:
                return cls(
                    rank=int(environ["SLURM_PROCID"]),
                    world_size=int(environ.get("SLURM_STEP_NUM_TASKS", environ["SLURM_NTASKS"])),
                    local_rank=int(environ["SLURM_LOCALID"]),
                    node_rank=int(environ["SLURM_NODEID"]),
                    node=environ.get("SLURMD_NODENAME", socket.gethostname()),
                    source="slurm",
                    nodes=int(environ.get("SLURM_STEP_NUM_NODES", environ.get("SLURM_NNODES", 1))),
                    step=environ["SLURM_STEP_ID"],
                )
            if "RANK" in environ and "WORLD_SIZE" in environ:
                return cls._from_torch(environ, "local")
        except (KeyError, ValueError) as error:
            raise UserError(f"the rank's environment makes no sense: {error}") from None
        return cls(0, 1, 0, 0, socket.gethostname(), "single")

    @classmethod
    def _from_torch(cls, environ: Mapping[str, str], source: str) -> RankEnvironment:
        return cls(
            rank=int(environ["RANK"]),
            world_size=int(environ["WORLD_SIZE"]),
            local_rank=int(environ["LOCAL_RANK"]),
            node_rank=int(environ.get("GROUP_RANK", "0")),
            node=socket.gethostname(),
            source=source,
            host=environ.get("MASTER_ADDR"),
            port=int(environ["MASTER_PORT"]) if "MASTER_PORT" in environ else None,
            nodes=int(environ.get("GROUP_WORLD_SIZE", "1")),
        )

    def require(self, world: World) -> None:
        """Check that this process is a rank of the planned world.

        Raises:
            UserError: another number of ranks was started than was planned.
        """
        if self.world_size != world.ranks:
            raise UserError(
                f"{self.source} started {self.world_size} ranks, the plan has {world.ranks} "
                f"({world.nodes} nodes × {world.tasks_per_node}); submit through ptycho-launch, "
                "or change resources.nodes and resources.tasks_per_node"
            )
        if not 0 <= self.local_rank < world.tasks_per_node:
            raise UserError(
                f"rank {self.rank} on {self.node} is task {self.local_rank} of its node, "
                f"the plan has {world.tasks_per_node} tasks per node"
            )
