"""The end of a run: the object of its training file, as its network sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptycho_dist.checkpoint.catalog import checkpoint_name
from ptycho_dist.config.run import RunConfig
from ptycho_dist.reconstruction.scan import ScanTask, reconstruct_scan
from ptycho_dist.reconstruction.stitch import Worker, groups_at_once
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.runtime.joined_rank import JoinedRank
from ptycho_dist.training.callback import StoppedOnRequest
from ptycho_dist.training.module import PtychoModule


def reconstruct_at_end(
    run: RunDirectory,
    config: RunConfig,
    read_from: Path,
    module: PtychoModule,
    step: int,
    rank: JoinedRank,
) -> dict[str, Any]:
    """The object of the training file, on all ranks; rank 0 writes it and returns its scores.

    The last checkpoint is committed: a stop loses nothing but the stages done, and the next
    attempt comes straight here. `read_from` is the training file as this node has it.

    Raises:
        StoppedOnRequest: all ranks have agreed to stop.
        UserError: the run directory cannot be written.
        RunError: rank 0 has failed; it raises the reason.
    """
    rank.report.say("reconstructing")

    def stop_if_agreed() -> None:
        rank.moved("reconstructing")
        if rank.agreement.any(rank.stop.requested):
            raise StoppedOnRequest(step)

    module = module.to(rank.device.torch).eval()
    learned = module.physics.probe_PHW if config.training.probe_trainable else None
    task = ScanTask(
        data_file=config.data.train_data_file,
        read_from=read_from,
        data=config.data,
        model=config.model,
        run=run.run_id,
        checkpoint=checkpoint_name(step),
        folder=run.reconstruction,
        intensity_scale=float(module.physics.log_intensity_scale.exp()),
        nphotons=config.training.nphotons,
    )
    worker = Worker(
        rank.rank,
        rank.environment.world_size,
        rank.device.torch,
        rank.agreement,
        groups_at_once(config.execution),
        config.execution.middle_trim,
        alive=rank.alive,
    )
    delivered = reconstruct_scan(module.network, learned, task, worker, stop_if_agreed)
    return {} if delivered is None else {"reconstruction": delivered.metrics["reconstruction"]}
