"""A whole scan through a trained network, on all ranks together; rank 0 writes what comes out."""

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
from ptycho_dist.reconstruction.deliver import Delivered, Provenance, deliver
from ptycho_dist.reconstruction.stitch import Worker, stitch


@dataclass(frozen=True, kw_only=True)
class ScanTask:
    """What is reconstructed, with what, and where it goes.

    Attributes:
        data_file: the scan.
        data: how groups of gridsize² patterns are chosen (`neighbor_count`, `subsample_seed`).
        model: N and gridsize of the network.
        run, checkpoint: names, for the record.
        folder: receives the files.
        n_groups: groups used; None: one for each pattern.
        truth_file: see `deliver`.
        show_positions: see `deliver`.
        n_subsample: patterns used, drawn by `data.subsample_seed`; None: all.
        intensity_scale: of the run, where it has learned one.
        nphotons: of the run; see `of_brightness`.
        read_from: a copy of data_file that is read in its place.
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
    """Every rank calls it; what was written on rank 0, None on the others.

    Args:
        network: trained, in evaluation mode, on the worker's device.
        learned_probe_PHW: complex, of any scale; None: the probe of the data file.
        task: the scan and the folder.
        worker: this rank.
        between_stages: see `stitch`.

    Raises:
        DataError: the file is not what the data contract promises, or of another detector size.
        UserError: the folder cannot be written.
        RunError: the object is not finite; or on the other ranks, where rank 0 fails.
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
    if not np.isfinite(stitched.object_YX).all():  # on all ranks alike
        raise RunError(
            f"{task.data_file}: the object is not finite: the network of {task.run}, "
            f"{task.checkpoint}, has diverged on this scan; nothing was written"
        )
    provenance = Provenance(
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
                provenance,
                truth_file=task.truth_file,
                show_positions=task.show_positions,
            )
        except Exception as error:  # the others wait to hear of it
            failure = error
    if worker.agreement.any(failure is not None):
        raise failure or RunError("rank 0 could not write the reconstruction; it says why")
    return delivered
