"""The input of a network for each pattern, and the interface that all networks share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, eq=False)
class Views:
    """The input for B groups of C patterns; B may be 0.

    Attributes:
        amplitude_BCHW: Measured amplitude, float32, sqrt(counts), centred.
        probe_BCPHW: Probe modes, complex64, sqrt(counts), moved by the rest of each position.
        rest_BC2: float32, (x, y) position minus nearest whole pixel, px.
        input_scale: s, 0-d float32; s·A has a mean square of 1 over the scan.
        envelope_HW: float32 factor of the far field that smooths the exit wave; None for none.
    """

    amplitude_BCHW: torch.Tensor
    probe_BCPHW: torch.Tensor
    rest_BC2: torch.Tensor
    input_scale: torch.Tensor
    envelope_HW: torch.Tensor | None = None


class PatchNetwork(nn.Module, ABC):
    """A network that draws object patches from diffraction patterns in one or more stages.

    Between two stages the caller merges the patches on a canvas (`ptycho_dist.physics.patches`) and
    passes the content of the canvas back, so that from the second stage on a patch contains
    information from its neighbours. In training the canvas is that of a group; in a reconstruction
    it is that of the whole scan, summed over all ranks.

    Every parameter takes part in every pass through all stages, even for B = 0, because DDP waits
    for the gradient of each.
    """

    stages: int = 1
    channels: int = 1
    """Number of patterns that the network takes together, gridsize²."""

    @abstractmethod
    def refine(self, stage: int, object_BCHW: torch.Tensor, views: Views) -> torch.Tensor:
        """Draw the patches of one stage, (B, C, H, W) complex64, on whole pixels.

        Args:
            stage: Number of the stage, from 0 to `stages` - 1.
            object_BCHW: complex64, content of the canvas under each patch; ones before stage 0.
            views: Patterns and probes of the same patches.
        """
