"""What a network is shown of each pattern, and what all networks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, eq=False)
class Views:
    """B groups of C patterns; B may be 0.

    Attributes:
        amplitude_BCHW: measured amplitude, float32, sqrt(counts), centred.
        probe_BCPHW: complex64 modes, sqrt(counts), moved by the rest of each position.
        rest_BC2: float32, (x, y), px, position minus nearest whole pixel.
        input_scale: s, 0-d float32; s·A has a mean square of 1 over the scan.
        envelope_HW: float32, multiplies the far field where the exit wave is smoothed; else None.
    """

    amplitude_BCHW: torch.Tensor
    probe_BCPHW: torch.Tensor
    rest_BC2: torch.Tensor
    input_scale: torch.Tensor
    envelope_HW: torch.Tensor | None = None


class PatchNetwork(nn.Module, ABC):
    """Object patches from diffraction patterns, in one stage or more.

    Between two stages the caller merges the patches on a canvas (`ptycho_dist.physics.patches`)
    and hands back what the canvas holds, so that from the second stage on a patch knows of its
    neighbours. In training the canvas is that of a group; in a reconstruction it is that of the
    whole scan, summed over all ranks.

    Every parameter takes part in every pass through all stages, also for B = 0: DDP waits for each.
    """

    stages: int = 1
    channels: int = 1
    """Patterns that the network takes together, gridsize²."""

    @abstractmethod
    def refine(self, stage: int, object_BCHW: torch.Tensor, views: Views) -> torch.Tensor:
        """Patches of stage 0, 1, … `stages` - 1: (B, C, H, W) complex64, on whole pixels.

        Args:
            stage: counted from 0.
            object_BCHW: complex64, what the canvas holds; ones before the first stage.
            views: patterns and probes of the same patches.
        """
