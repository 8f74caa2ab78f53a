"""An unrolled network: each stage is a step of phase retrieval and a small learned correction.

A stage takes the object from the shared canvas, makes the step that the measured amplitude
demands, and adds a correction that a U-Net computes from the two:

    ψ_p = O·P_p,   Ψ_p = F ψ_p,   ψ'_p = F⁻¹[ A · Ψ_p / sqrt(Σ_q |Ψ_q|²) ]
    g   = Σ_p P_p*·(ψ'_p - ψ_p) / (0.95·Σ_p |P_p|² + 0.05·max Σ_p |P_p|²)
    O  <- O + g + U_k(Re O, Im O, Re g, Im g)

The step is that of the regularised ptychographical iterative engine (Maiden, Johnson & Li, Optica
4, 736 (2017)) for modes (Thibault & Menzel, Nature 494, 68 (2013)), applied to all patterns at
once. Unrolling an iteration and learning its corrections follows Gregor & LeCun, ICML 2010. The
measured amplitude enters only through the step, which lives on the pixels of the object: what is
local in the object is then local in the input, as convolutions need. A network that reads the
amplitudes themselves has to learn the inverse of a Fourier transform.
"""

from __future__ import annotations

import torch
from torch import nn

from ptycho_dist.config.model import ModelConfig
from ptycho_dist.models.views import PatchNetwork, Views
from ptycho_dist.physics.forward import modulus_step

_WIDTHS = (8, 16, 16)  # channels at N/2, N/4 and N/8 for n_filters_scale 1
_GROUP = 8  # number of channels that are normalised together
_HALVING = 2


class UnrolledNetwork(PatchNetwork):
    """A network for groups of any size that sees each pattern alone, and neighbours via the canvas.

    The corrections start near zero, so an untrained network makes `stages` plain steps from O = 1.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.stages = config.stages
        widths = [
            _GROUP * max(1, round(width * config.n_filters_scale / _GROUP)) for width in _WIDTHS
        ]
        self.corrections = nn.ModuleList(_UNet(4, 2, widths) for _ in range(self.stages))

    def refine(self, stage: int, object_BCHW: torch.Tensor, views: Views) -> torch.Tensor:
        """Make one step and add the learned correction; see `PatchNetwork.refine`."""
        step_BCHW = modulus_step(object_BCHW, views.probe_BCPHW, views.amplitude_BCHW)
        batch, channels, height, width = object_BCHW.shape
        seen = torch.stack(
            [object_BCHW.real, object_BCHW.imag, step_BCHW.real, step_BCHW.imag], dim=2
        )
        correction: torch.Tensor = self.corrections[stage](seen.reshape(-1, 4, height, width))
        # complex numbers have no half precision, so the result of mixed precision becomes float32
        real, imaginary = correction.float().reshape(batch, channels, 2, height, width).unbind(2)
        return object_BCHW + step_BCHW + torch.complex(real, imaginary)


class _UNet(nn.Module):
    """A U-Net (B, in, N, N) -> (B, out, N, N) on grids of N/2, N/4 and N/8; N is divisible by 8.

    Skip connections are added, not stacked, and widths are matched on the coarser grid, because on
    a CPU a stacked U-Net spends three quarters of its time in its last wide convolutions.
    """

    def __init__(self, channels_in: int, channels_out: int, widths: list[int]) -> None:
        super().__init__()
        fine, middle, coarse = widths
        pixels = _HALVING**2
        self.enter = _Conv(channels_in * pixels, fine)
        self.down1 = nn.Sequential(_Conv(fine, middle, stride=2), _Conv(middle, middle))
        self.down2 = nn.Sequential(_Conv(middle, coarse, stride=2), _Conv(coarse, coarse))
        self.match1 = nn.Conv2d(coarse, middle, 1)
        self.up1 = _Conv(middle, middle)
        self.match2 = nn.Conv2d(middle, fine, 1)
        self.up2 = _Conv(fine, fine)
        self.leave = nn.Conv2d(fine, channels_out * pixels, 3, padding=1)
        nn.init.normal_(self.leave.weight, std=1e-3)
        nn.init.zeros_(self.leave.get_parameter("bias"))

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        """Compute the correction, (B, out, N, N)."""
        fine = self.enter(_folded(seen))
        middle = self.down1(fine)
        coarse = self.down2(middle)
        middle = self.up1(middle + _doubled(self.match1(coarse)))
        fine = self.up2(fine + _doubled(self.match2(middle)))
        return _unfolded(self.leave(fine))


class _Conv(nn.Sequential):
    """A 3 × 3 convolution, normalisation within each pattern (never over the batch), and GELU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=1, stride=stride),
            nn.GroupNorm(channels_out // _GROUP, channels_out),
            nn.GELU(),
        )


def _folded(image: torch.Tensor) -> torch.Tensor:
    """Reshape (B, F, N, N) to (B, 4F, N/2, N/2); torch's pixel_unshuffle does not for B = 0."""
    batch, channels, height, width = image.shape
    step = _HALVING
    parts = image.reshape(batch, channels, height // step, step, width // step, step)
    return parts.permute(0, 1, 3, 5, 2, 4).reshape(
        batch, channels * step**2, height // step, width // step
    )


def _unfolded(feature: torch.Tensor) -> torch.Tensor:
    """Reverse `_folded`."""
    batch, channels, height, width = feature.shape
    step = _HALVING
    parts = feature.reshape(batch, channels // step**2, step, step, height, width)
    return parts.permute(0, 1, 4, 2, 5, 3).reshape(
        batch, channels // step**2, height * step, width * step
    )


def _doubled(feature: torch.Tensor) -> torch.Tensor:
    """Repeat each pixel along each axis through views, whose gradient is a plain sum everywhere."""
    batch, channels, height, width = feature.shape
    spread = feature[:, :, :, None, :, None].expand(batch, channels, height, 2, width, 2)
    return spread.reshape(batch, channels, 2 * height, 2 * width)
