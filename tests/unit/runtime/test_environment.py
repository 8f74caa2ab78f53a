"""The place of a rank, read from the variables of SLURM, torchrun or the local cluster."""

import pytest

from ptycho_dist.errors import UserError
from ptycho_dist.runtime.environment import RankEnvironment

SLURM = {
    "SLURM_PROCID": "3",
    "SLURM_STEP_ID": "0",
    "SLURM_NTASKS": "9",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURMD_NODENAME": "node2",
}
TORCH = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29500",
}


def place(environ):
    found = RankEnvironment.detect(environ)
    return found.source, found.rank, found.world_size, found.local_rank, found.node_rank


def test_each_source():
    assert place(SLURM) == ("slurm", 3, 4, 1, 1)
    assert RankEnvironment.detect(SLURM).node == "node2"
    assert place(TORCH) == ("local", 1, 2, 1, 0)
    assert place({**TORCH, "TORCHELASTIC_RUN_ID": "x", "GROUP_RANK": "2"})[0] == "torchrun"
    assert place({}) == ("single", 0, 1, 0, 0)


def test_precedence():
    """torchrun precedes a job step, and a job step precedes stale RANK and WORLD_SIZE."""
    assert place({**SLURM, **TORCH})[0] == "slurm"
    assert place({**SLURM, **TORCH, "TORCHELASTIC_RUN_ID": "x"})[0] == "torchrun"
    batch_script = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}
    assert place(batch_script)[0] == "single"


@pytest.mark.parametrize("broken", [{"RANK": "x", "WORLD_SIZE": "2"}, {**TORCH, "LOCAL_RANK": ""}])
def test_nonsense(broken):
    with pytest.raises(UserError, match="missing or not a number"):
        RankEnvironment.detect(broken)
