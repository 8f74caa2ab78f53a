"""One rank that keeps to its legacy scope; arguments: STORE CASE. RANK and WORLD_SIZE are set.

Cases: same; config (the last rank has another batch size); epoch (rank 1 writes past the seal
before epoch 2); fault (rank 1 has no open scope); mode (rank 1 watches another dict); spawn (one
process starts the ranks itself, and they have the scope as argument).
"""

from __future__ import annotations

import dataclasses
import os
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import torch.distributed as dist
import torch.multiprocessing

from ptycho_dist.config.data import DataConfig
from ptycho_dist.config.model import ModelConfig
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.training import TrainingSection
from ptycho_dist.errors import RunError
from ptycho_dist.legacy import LegacyScope, params, require_same_on_all_ranks

CONFIG = RunConfig(
    name="legacy",
    data=DataConfig(train_data_file=Path("/data/train.npz")),
    model=ModelConfig(N=64),
    training=TrainingSection(batch_size=8),
)


def gather(text: str) -> list[str]:
    """The texts of all ranks."""
    texts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(texts, text)
    return texts


def join(store: str, rank: int, ranks: int) -> None:
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=60),
    )


def run_rank(store: str, case: str, rank: int, ranks: int) -> None:
    """Start, four epochs with a checkpoint each, end."""
    config, module = CONFIG, None
    if case == "config" and rank == ranks - 1:
        training = dataclasses.replace(config.training, batch_size=32)
        config = dataclasses.replace(config, training=training)
    if case == "mode" and rank == 1:
        foreign = ModuleType("foreign_params")
        foreign.cfg = dict(params.cfg)
        sys.modules["foreign_params"], module = foreign, "foreign_params"
    join(store, rank, ranks)
    scope = LegacyScope(config, module=module)
    if case == "fault" and rank == 1:
        require_same_on_all_ranks(scope, gather)
    with scope:
        require_same_on_all_ranks(scope, gather)
        for epoch in range(4):
            if case == "epoch" and rank == 1 and epoch == 2:
                dict.update(params.cfg, N=128)
                dict.pop(params.cfg, "nepochs")
            require_same_on_all_ranks(scope, gather, f"before epoch {epoch}")
            print(f"epoch {epoch} N {params.get('N')}", flush=True)
            require_same_on_all_ranks(scope, gather, f"before the checkpoint of step {epoch}")


def run_spawned(rank: int, scope: LegacyScope, store: str, ranks: int, case: str) -> None:
    """A spawned rank: by now the scope is open, because it was unpickled."""
    assert params.get("N") == 64
    assert params.cfg.sealed
    join(store, rank, ranks)
    with scope:
        if case == "spawn-epoch" and rank == 1:
            dict.update(params.cfg, N=128)
        require_same_on_all_ranks(scope, gather, "in spawned ranks")
        # one write: the ranks share the pipe, and print writes the end of the line by itself
        os.write(1, f"rank {rank} N {params.get('N')}\n".encode())
    dist.destroy_process_group()


def main(store: str, case: str) -> None:
    ranks = int(os.environ["WORLD_SIZE"])
    if not case.startswith("spawn"):
        run_rank(store, case, int(os.environ["RANK"]), ranks)
        return
    with LegacyScope(CONFIG) as scope:
        torch.multiprocessing.spawn(run_spawned, (scope, store, ranks, case), nprocs=ranks)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except RunError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)  # as the ranks of a run leave: a destructor must not wait for a rank that is gone
