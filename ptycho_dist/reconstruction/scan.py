"""Reconstruct a whole scan with a trained network on all ranks; rank 0 writes the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ptycho_dist.config.data import DataConfig
from ptycho_dist.config.model import ModelConfig
from ptycho_dist.data.opening import (
    of_brightness,
    read_scan_of_size,
    subsampled,
    whole_scan_groups,
)
from ptycho_dist.errors import RunError
from ptycho_dist.models.scan_physics import ScanPhysics
from ptycho_dist.models.views import PatchNetwork
from ptycho_dist.reconstruction.deliver import Delivered, ReconstructionSource, deliver
from ptycho_dist.reconstruction.stitch import Worker, stitch


@dataclass(frozen=True, kw_only=True)
class ScanTask:
    """The scan to reconstruct, the network, and the folder for the results.

    Attributes:
        data_file: The scan file.
        data: Choice of the groups of gridsize² patterns (`neighbor_count`, `subsample_seed`).
        model: N and gridsize of the network.
        run: Id of the run, for the record.
        checkpoint: Name of the checkpoint, for the record.
        folder: Folder for the files.
        n_groups: Number of groups to use; None for one per pattern.
        truth_file: See `deliver`.
        show_positions: See `deliver`.
        n_subsample: Number of patterns to use, drawn by `data.subsample_seed`; None for all.
        intensity_scale: Factor of the predicted amplitude that the run learned, or 1.
        nphotons: `training.nphotons` of the run; see `of_brightness`.
        read_from: Copy of data_file to read instead, or None.
    """

    data_file: Path
    data: DataConfig
    model: ModelConfig
    run: str
    checkpoint: str
    folder: Path
    n_groups: int | None = None
    truth_file: Path | None = None
    show_positions: bool = False
    n_subsample: int | None = None
    intensity_scale: float = 1.0
    nphotons: float | None = None
    read_from: Path | None = None


def reconstruct_scan(
    network: PatchNetwork,
    learned_probe_PHW: torch.Tensor | None,
    task: ScanTask,
    worker: Worker,
    between_stages: Callable[[], None] = lambda: None,
) -> Delivered | None:
    """Reconstruct a scan; every rank calls this.

    Args:
        network: Trained network in evaluation mode, on the worker's device.
        learned_probe_PHW: Complex probe of any scale; None uses the probe of the data file.
        task: The scan and the folder.
        worker: This rank.
        between_stages: See `stitch`.

    Returns:
        The files that rank 0 wrote; None on the other ranks.

    Raises:
        DataError: The file breaks the data contract or has another detector size.
        UserError: The folder cannot be written.
        RunError: The object is not finite; or, on the other ranks, rank 0 failed.
    """
    file = task.read_from or task.data_file
    whole = of_brightness(read_scan_of_size(file, task.model.N), task.nphotons)
    scan = subsampled(whole, task.n_subsample, task.data.subsample_seed)
    dataset = whole_scan_groups(scan, task.data, task.model, task.n_groups)
    probe_PHW = dataset.probe_PHW if learned_probe_PHW is None else learned_probe_PHW.detach().cpu()
    physics = ScanPhysics(
        probe_PHW,
        dataset.mean_total_counts,
        trainable=False,
        model=task.model,
        intensity_scale=task.intensity_scale,
    ).to(worker.device)
    began = time.monotonic()
    stitched = stitch(network, physics, dataset, worker, between_stages)
    if not np.isfinite(stitched.object_YX).all():  # true on all ranks or on none
        raise RunError(
            f"{task.data_file}: the object is not finite: the network of {task.run}, "
            f"{task.checkpoint}, has diverged on this scan; nothing was written"
        )
    source = ReconstructionSource(
        data_file=task.data_file,
        run=task.run,
        checkpoint=task.checkpoint,
        ranks=worker.ranks,
        seconds=time.monotonic() - began,
        probe="file" if learned_probe_PHW is None else "learned",
    )
    delivered: Delivered | None = None
    failure: Exception | None = None
    if worker.rank == 0:
        try:
            delivered = deliver(
                task.folder,
                stitched,
                scan,
                dataset.layout,
                physics.probe_PHW.cpu().numpy(),
                source,
                truth_file=task.truth_file,
                show_positions=task.show_positions,
            )
        except Exception as error:  # raised below, after the other ranks have been told
            failure = error
    if worker.agreement.any(failure is not None):
        raise failure or RunError("rank 0 could not write the reconstruction; see its log")
    return delivered
