"""Stitch one object from all patterns of a scan; each rank works on its share of them.

The stages of the network run one after the other over the whole scan. Each rank adds the patches of
its share to its own canvas, and the canvases are summed over the ranks. So the next stage and the
result are the same on any number of ranks, except for the order of the sum, which is in float64.
The memory is that of the canvas and of one batch and does not grow with the number of patterns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.data.order import rank_share
from ptycho_dist.data.store import GroupBatch, GroupDataset
from ptycho_dist.models.scan_physics import ScanPhysics
from ptycho_dist.models.views import PatchNetwork
from ptycho_dist.physics.forward import diffraction_amplitude
from ptycho_dist.physics.patches import CanvasSums, extract_patches, merge_weights
from ptycho_dist.runtime.agreement import Agreement

_GROUPS_AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class StitchedObject:
    """The object that a network reconstructs from a scan.

    Attributes:
        object_YX: (Y, X) complex64, transmission relative to its mean; 1 outside all patches.
        weight_YX: (Y, X) float32, Σ w, the sum of the probes' intensities, each relative to its
            brightest pixel.
        data_consistency: R = Σ(Â - A)² / ΣA² of the stitched object; 0 is perfect.
        flat_data_consistency: R of the flat object, O = 1.
    """

    object_YX: np.ndarray
    weight_YX: np.ndarray
    data_consistency: float
    flat_data_consistency: float


@dataclass(frozen=True)
class Worker:
    """One of the ranks that reconstruct.

    Attributes:
        rank: Number of this rank.
        ranks: Number of ranks.
        device: Device on which it computes.
        agreement: Adds its sums to those of the other ranks.
        batch_size: Number of groups processed at once.
        middle_trim: Stitch only the middle n × n pixels of each patch; 0 for all.
        num_workers: Number of loader processes; 0 loads in this process.
        worker_init: Called first in each loader process, with its number.
    """

    rank: int
    ranks: int
    device: torch.device
    agreement: Agreement
    batch_size: int
    middle_trim: int = 0
    num_workers: int = 0
    worker_init: Callable[[int], None] | None = None
    alive: Callable[[], None] = lambda: None
    """Called before each batch to show that this rank is working."""

    def batches(self, dataset: GroupDataset) -> Iterator[GroupBatch]:
        """Yield this rank's share of the groups, in order, on its device; it may be empty."""
        first, last = rank_share(len(dataset), rank=self.rank, ranks=self.ranks)
        starts = range(first, last, self.batch_size)
        loader = DataLoader(
            dataset,
            batch_sampler=[
                list(range(start, min(start + self.batch_size, last))) for start in starts
            ],
            collate_fn=dataset.collate,
            num_workers=self.num_workers,
            worker_init_fn=self.worker_init,
            generator=torch.Generator(),  # without one, iterating draws from the global generator
        )
        for batch in loader:
            self.alive()
            yield GroupBatch(
                amplitude_BCHW=batch["amplitude_BCHW"].to(self.device),
                corner_BC2=batch["corner_BC2"].to(self.device),
                rest_BC2=batch["rest_BC2"].to(self.device),
                index_B=batch["index_B"],
                label_BCHW=batch["label_BCHW"],
            )


def groups_at_once(execution: PyTorchExecutionConfig) -> int:
    """Return how many groups pass through the network together in a reconstruction."""
    return execution.inference_batch_size or _GROUPS_AT_ONCE


def stitch(
    network: PatchNetwork,
    physics: ScanPhysics,
    dataset: GroupDataset,
    worker: Worker,
    between_stages: Callable[[], None] = lambda: None,
) -> StitchedObject:
    """Run all stages of a network over a scan; every rank calls this and gets the same result.

    Args:
        network: Network in evaluation mode, on the worker's device.
        physics: Probe and brightness of this scan, on the same device.
        dataset: The groups on one canvas (`GroupDataset(…, one_canvas=True)`).
        worker: This rank.
        between_stages: Called after each stage on every rank; an error that it raises ends the
            reconstruction.
    """
    shape_YX = dataset.canvas_shape_YX
    canvas_YX = torch.ones(shape_YX, dtype=torch.complex64, device=worker.device)
    flat_consistency = object_consistency(canvas_YX, physics, dataset, worker)
    with torch.inference_mode():
        for stage in range(network.stages):
            sums = CanvasSums(1, shape_YX, canvas_YX, double=True)
            for batch in worker.batches(dataset):
                views = physics.views(batch["amplitude_BCHW"], batch["rest_BC2"])
                seen_BCHW = _seen(canvas_YX, batch)
                object_BCHW = network.refine(stage, seen_BCHW, views)
                weight_BCHW = merge_weights(views.probe_BCPHW)
                sums.add(*_as_one_group(*_middle(object_BCHW, weight_BCHW, batch, worker)))
            sums.weighted = worker.agreement.sum_tensor(sums.weighted)
            sums.weights = worker.agreement.sum_tensor(sums.weights)
            canvas_YX = sums.object_BYX(elsewhere=1.0)[0].to(torch.complex64)
            between_stages()
    return StitchedObject(
        object_YX=canvas_YX.cpu().numpy(),
        weight_YX=sums.weights.reshape(shape_YX).float().cpu().numpy(),
        data_consistency=object_consistency(canvas_YX, physics, dataset, worker),
        flat_data_consistency=flat_consistency,
    )


def object_consistency(
    canvas_YX: torch.Tensor, physics: ScanPhysics, dataset: GroupDataset, worker: Worker
) -> float:
    """Compute R = Σ(Â - A)² / ΣA² over the patterns of all ranks, with Â predicted from the object.

    Each pattern counts once, no matter how many groups contain it.
    """
    misfit = energy = 0.0
    with torch.inference_mode():
        for batch in worker.batches(dataset):
            views = physics.views(batch["amplitude_BCHW"], batch["rest_BC2"])
            predicted_amp = diffraction_amplitude(
                _seen(canvas_YX, batch), views.probe_BCPHW, views.envelope_HW
            )
            share_BC = dataset.share_BC(batch["index_B"]).to(worker.device)
            errors_BCHW = (predicted_amp - views.amplitude_BCHW) ** 2
            misfit += float((errors_BCHW.sum(dim=(-2, -1)) * share_BC).sum())
            energy += float((views.amplitude_BCHW**2).sum(dim=(-2, -1)).mul(share_BC).sum())
    misfit, energy = worker.agreement.sum([misfit, energy])
    return misfit / energy


def _seen(canvas_YX: torch.Tensor, batch: GroupBatch) -> torch.Tensor:
    """Cut the patches of a batch out of the canvas, (B, C, N, N)."""
    corner_BC2 = batch["corner_BC2"]
    size = batch["amplitude_BCHW"].shape[-1]
    patches = extract_patches(canvas_YX[None], corner_BC2.reshape(1, -1, 2), size)
    return patches.reshape(*corner_BC2.shape[:2], size, size)


def _middle(
    object_BCHW: torch.Tensor, weight_BCHW: torch.Tensor, batch: GroupBatch, worker: Worker
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Crop patches, weights and corners to the pixels that are stitched."""
    size = object_BCHW.shape[-1]
    edge = (size - worker.middle_trim) // 2 if worker.middle_trim else 0
    kept = slice(edge, size - edge)
    return (
        object_BCHW[..., kept, kept],
        weight_BCHW[..., kept, kept],
        batch["corner_BC2"] + edge,
    )


def _as_one_group(
    object_BCHW: torch.Tensor, weight_BCHW: torch.Tensor, corner_BC2: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Reshape patches, weights and corners of a batch to one group, (1, B·C, …)."""
    return (
        object_BCHW.flatten(0, 1)[None],
        weight_BCHW.flatten(0, 1)[None],
        corner_BC2.flatten(0, 1)[None],
    )
