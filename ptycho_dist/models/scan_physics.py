"""What a network is told of a scan beside its patterns."""

from __future__ import annotations

import math

import torch
from torch import nn

from ptycho_dist.models.views import Views
from ptycho_dist.physics.forward import probe_scale
from ptycho_dist.physics.patches import moved_probe


class ScanPhysics(nn.Module):
    """What the network is told of a scan: its probe, which may be learned, and its brightness."""

    def __init__(self, probe_PHW: torch.Tensor, mean_total_counts: float, trainable: bool) -> None:
        """
        Args:
            probe_PHW: complex64 modes, any scale.
            mean_total_counts: mean over the patterns of ΣA², counts.
            trainable: the probe is a parameter.
        """
        super().__init__()
        self.probe_parts: torch.Tensor
        self.input_scale: torch.Tensor
        parts = torch.view_as_real(probe_scale(probe_PHW, mean_total_counts))
        # relative to its brightest pixel, so that one step size serves probes of any brightness
        self._unit = float(parts.abs().max())
        self._counts = mean_total_counts
        if trainable:
            self.probe_parts = nn.Parameter(parts / self._unit)
        else:
            self.register_buffer("probe_parts", parts / self._unit)
        scale = probe_PHW.shape[-1] / math.sqrt(mean_total_counts)
        self.register_buffer("input_scale", torch.tensor(scale, dtype=torch.float32))

    @property
    def probe_PHW(self) -> torch.Tensor:
        """The probe, complex64, sqrt(counts).

        Its energy is always the mean count of a pattern: only the product of probe and object is
        measured, and without this the two would drift apart.
        """
        return probe_scale(torch.view_as_complex(self.probe_parts * self._unit), self._counts)

    def views(self, amplitude_BCHW: torch.Tensor, rest_BC2: torch.Tensor) -> Views:
        """What a network is shown of these patterns; see `Views`."""
        return Views(
            amplitude_BCHW=amplitude_BCHW,
            probe_BCPHW=moved_probe(self.probe_PHW, rest_BC2),
            rest_BC2=rest_BC2,
            input_scale=self.input_scale,
        )
