"""The place of this process in its job, read from SLURM, torchrun or the local cluster."""

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
    """Number of the rank on its node, and the index of its GPU."""
    node_rank: int
    """Number of the node in the job."""
    node: str
    """Name of the node."""
    source: str
    """What started the rank: `slurm`, `torchrun`, `local` or `single`."""
    host: str | None = None
    """Host on which rank 0 opens its store, if the source sets it (torchrun)."""
    port: int | None = None
    """Port of that store, if the source sets it."""
    nodes: int = 1
    """Number of nodes of the job step, or of torchrun."""
    step: str | None = None
    """SLURM's number of the job step; None: the rank is not in a job step."""

    @classmethod
    def detect(cls, environ: Mapping[str, str] = os.environ) -> RankEnvironment:
        """Read the environment of this process.

        torchrun takes precedence over SLURM, as it may run inside a job step. A job step takes
        precedence over RANK and WORLD_SIZE, which may be left over in a login shell.

        Raises:
            UserError: a variable is missing or not a number.
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
            raise UserError(
                f"an environment variable of this rank is missing or not a number: {error}"
            ) from None
        return cls(
            rank=0,
            world_size=1,
            local_rank=0,
            node_rank=0,
            node=socket.gethostname(),
            source="single",
        )

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
