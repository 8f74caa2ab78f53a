"""The reconstruction at the end of a run: the object of its training file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptycho_dist.checkpoint.catalog import checkpoint_name
from ptycho_dist.reconstruction.scan import ScanTask, reconstruct_scan
from ptycho_dist.reconstruction.stitch import Worker, groups_at_once
from ptycho_dist.training.module import PtychoModule
from ptycho_dist.training.stopping import StoppedOnRequest
from ptycho_dist.training.task import TrainingTask


def write_final_reconstruction(
    task: TrainingTask, data_file: Path, module: PtychoModule, step: int
) -> dict[str, Any]:
    """Reconstruct the object of the training file, on all ranks together; rank 0 writes it.

    The last checkpoint is committed by then: a stop loses only the stages done here, and the next
    attempt begins with this reconstruction.

    Args:
        task: what was trained.
        data_file: the training file as this node has it.
        module: the trained network.
        step: optimizer steps done.

    Returns:
        The scores for result.json, on rank 0; an empty mapping on the others.

    Raises:
        StoppedOnRequest: all ranks have agreed to stop.
        UserError: the run directory cannot be written.
        RunError: rank 0 has failed; it raises the reason.
    """
    rank, config = task.rank, task.config
    rank.heartbeat.write("reconstructing")

    def stop_if_agreed() -> None:
        rank.moved("reconstructing")
        if rank.agreement.any(rank.stop.requested):
            raise StoppedOnRequest(step)

    module = module.to(rank.device.torch).eval()
    learned = module.physics.probe_PHW if config.training.probe_trainable else None
    scan = ScanTask(
        data_file=config.data.train_data_file,
        read_from=data_file,
        data=config.data,
        model=config.model,
        run=task.run.run_id,
        checkpoint=checkpoint_name(step),
        folder=task.run.reconstruction,
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
    delivered = reconstruct_scan(module.network, learned, scan, worker, stop_if_agreed)
    return {} if delivered is None else {"reconstruction": delivered.metrics["reconstruction"]}
