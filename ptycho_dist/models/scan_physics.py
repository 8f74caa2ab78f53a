"""The knowledge about a scan that a network gets in addition to its patterns."""

from __future__ import annotations

import math

import torch
from torch import nn

from ptycho_dist.config.model import ModelConfig
from ptycho_dist.errors import UserError
from ptycho_dist.models.views import Views
from ptycho_dist.physics.forward import probe_scale, smoothing_envelope
from ptycho_dist.physics.patches import moved_probe

_PLAIN = ModelConfig()


class ScanPhysics(nn.Module):
    """The probe and the brightness of a scan, both of which may be learned."""

    def __init__(
        self,
        probe_PHW: torch.Tensor,
        mean_total_counts: float,
        trainable: bool,
        model: ModelConfig = _PLAIN,
        *,
        intensity_scale: float = 1.0,
        intensity_trainable: bool = False,
    ) -> None:
        """Scale the probe to the brightness of the scan.

        Args:
            probe_PHW: complex64 modes of any scale.
            mean_total_counts: Mean of ΣA² over the patterns, in counts.
            trainable: Whether the probe is a parameter.
            model: Says whether the probe is masked and how far the exit wave is smoothed.
            intensity_scale: Factor of the predicted amplitude: its start value, or as learned.
            intensity_trainable: Whether the logarithm of that factor is a parameter.

        Raises:
            UserError: The masked probe is zero everywhere.
        """
        super().__init__()
        self.probe_parts: torch.Tensor
        self.input_scale: torch.Tensor
        self.log_intensity_scale: torch.Tensor
        self.mask_HW: torch.Tensor | None
        self.envelope_HW: torch.Tensor | None
        size = probe_PHW.shape[-1]
        self.register_buffer("mask_HW", _disc(size) if model.probe_mask else None, persistent=False)
        sigma_px = model.gaussian_smoothing_sigma
        envelope_HW = smoothing_envelope(size, sigma_px) if sigma_px else None
        self.register_buffer("envelope_HW", envelope_HW, persistent=False)
        masked_PHW = self._masked(probe_PHW)
        if probe_PHW.any() and not masked_PHW.any():
            raise UserError(
                "model.probe_mask: true, but the probe has no light inside the disc of N/2 pixels "
                "around its centre; centre the probe, or set model.probe_mask: false"
            )
        parts = torch.view_as_real(probe_scale(masked_PHW, mean_total_counts))
        # relative to its brightest pixel, so that one learning rate suits probes of any brightness
        self._unit = float(parts.abs().max())
        self._counts = mean_total_counts
        if trainable:
            self.probe_parts = nn.Parameter(parts / self._unit)
        else:
            self.register_buffer("probe_parts", parts / self._unit)
        log_scale = torch.tensor(math.log(intensity_scale), dtype=torch.float32)
        if intensity_trainable:
            self.log_intensity_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_intensity_scale", log_scale, persistent=False)
        scale = size / math.sqrt(mean_total_counts)
        self.register_buffer("input_scale", torch.tensor(scale, dtype=torch.float32))

    @property
    def probe_PHW(self) -> torch.Tensor:
        """The probe, complex64, sqrt(counts).

        Its energy is the mean count of a pattern times the square of the intensity scale, which is
        1 unless it is learned. The energy is fixed because only the product of probe and object is
        measured: otherwise the two could drift apart.
        """
        parts = self._masked(torch.view_as_complex(self.probe_parts * self._unit))
        return probe_scale(parts, self._counts) * torch.exp(self.log_intensity_scale)

    def views(self, amplitude_BCHW: torch.Tensor, rest_BC2: torch.Tensor) -> Views:
        """Combine these patterns with the probe for the network; see `Views`."""
        return Views(
            amplitude_BCHW=amplitude_BCHW,
            probe_BCPHW=moved_probe(self.probe_PHW, rest_BC2),
            rest_BC2=rest_BC2,
            input_scale=self.input_scale,
            envelope_HW=self.envelope_HW,
        )

    def _masked(self, probe_PHW: torch.Tensor) -> torch.Tensor:
        return probe_PHW if self.mask_HW is None else probe_PHW * self.mask_HW


def _disc(size: int) -> torch.Tensor:
    """Make an (N, N) float32 mask: 1 inside a disc of diameter N/2 around the centre, else 0."""
    axis = torch.arange(size) - size // 2
    return (axis[:, None] ** 2 + axis**2 <= (size // 4) ** 2).float()
