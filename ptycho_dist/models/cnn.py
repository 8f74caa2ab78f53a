"""The physics-informed convolutional network, from diffraction amplitudes to object patches.

One encoder serves amplitude and phase (N -> N/8). Each of the two has a decoder back to N/2 that
ends in a central head (the N/2 × N/2 pixels that the probe illuminates) and a border branch (the
faintly lit rest). The architecture follows Hoidn, Mishra & Mehta, Sci. Rep. 13, 22789 (2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from ptycho_dist.config.model import ModelConfig
from ptycho_dist.models.views import PatchNetwork, Views
from ptycho_dist.physics.patches import moved_patches

_BASE_WIDTH = 32
_BORDER_WIDTH = 16  # largest number of a decoder's channels that feed the border branch
_LEAST_SILU = 0.2784645427610738  # Lambert's W(1/e); the minimum of x·sigmoid(x) is minus this
_UNIT_SILU = 0.9897170785072369  # argument at which silu is 1 minus the number above
_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "softplus": lambda logit: functional.softplus(logit + math.log(math.e - 1)),
    "sigmoid": lambda logit: 2 * torch.sigmoid(logit),
    "relu": lambda logit: torch.relu(logit + 1),
    # shifted up, as a negative amplitude would be a phase of π; rounding must not make it negative
    "swish": lambda logit: (functional.silu(logit + _UNIT_SILU) + _LEAST_SILU).clamp_min(0),
}
"""Amplitude as a function of the logit, by `amp_activation`; each is 1 at 0 and never negative."""


class PtychoCNN(PatchNetwork):
    """A network of one stage for groups of C = gridsize² patterns.

    It maps s·A, the amplitudes scaled to a mean square of 1, (B, C, N, N) float32, to object
    patches O = a·exp(iφ), (B, C, N, N) complex64; B may be 0. `amp_activation` gives a, which is 1
    for a logit of 0, and φ = π·tanh. The last layers start near zero, so an untrained network
    returns O ≈ 1.

    There is no batch normalisation, because the batch of a rank may be short or empty. Every
    parameter takes part in every forward pass.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.channels = channels = config.gridsize**2
        width = max(1, round(_BASE_WIDTH * config.n_filters_scale))
        self.encoder = nn.Sequential(
            _Down(channels, width), _Down(width, 2 * width), _Down(2 * width, 4 * width)
        )
        self.amplitude = _Decoder(width, channels, config)
        self.phase = _Decoder(width, channels, config)
        self._activation = _ACTIVATIONS[config.amp_activation]
        # torch's default initialisation shrinks the signal until all patterns look the same
        for parameter in self.parameters():
            if parameter.dim() == 4:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            else:
                nn.init.zeros_(parameter)
        for decoder in (self.amplitude, self.phase):
            for head in decoder.heads():
                nn.init.normal_(head.weight, std=1e-3)

    def refine(self, stage: int, object_BCHW: torch.Tensor, views: Views) -> torch.Tensor:
        """Draw the patches from the amplitudes alone; see `PatchNetwork.refine`.

        A shift of the object does not change the amplitudes, so the network draws its patches
        around the probe, and they are moved to whole pixels afterwards.
        """
        shape = views.amplitude_BCHW.shape
        scaled_amp = views.input_scale * views.amplitude_BCHW
        patches = self(scaled_amp.reshape(-1, self.channels, *shape[2:])).reshape(shape)
        return moved_patches(patches, views.rest_BC2)

    def forward(self, scaled_amp_BCHW: torch.Tensor) -> torch.Tensor:
        """Draw object patches around the probe.

        Args:
            scaled_amp_BCHW: s·A, float32.

        Returns:
            (B, C, H, W) complex64.

        Raises:
            ValueError: H and W differ or are not divisible by 8.
        """
        height, width = scaled_amp_BCHW.shape[-2:]
        if height != width or height % 8:
            raise ValueError(f"patterns of {height} × {width} px must be square, divisible by 8")
        feature_BFhw = self.encoder(scaled_amp_BCHW)
        # complex numbers have no half precision, so the result of mixed precision becomes float32
        amplitude_BCHW = _at_least_single(self.amplitude(feature_BFhw))
        phase_BCHW = _at_least_single(self.phase(feature_BFhw))
        return torch.polar(
            self._activation(amplitude_BCHW),
            math.pi * torch.tanh(phase_BCHW),
        )


class _Down(nn.Sequential):
    """Two convolutions and a pooling layer: (B, in, H, W) -> (B, out, H/2, W/2)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
            nn.GELU(),
            nn.MaxPool2d(2),
        )


class _Decoder(nn.Module):
    """Maps (B, 4w, N/8, N/8) features to (B, C, N, N) logits, 0 where no head contributes."""

    def __init__(self, width: int, channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.Conv2d(4 * width, 4 * width, 3, padding=1),
            nn.GELU(),
            UpConv2d(4 * width, 2 * width),
            nn.GELU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.GELU(),
            UpConv2d(2 * width, width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GELU(),
        )
        self.border_width = min(width, _BORDER_WIDTH)
        self.pads = config.pad_object
        self.centre = (
            nn.Conv2d(width, channels, 3, padding=1) if self.pads else UpConv2d(width, channels)
        )
        """Head for the central pixels, or for the whole patch without padding."""
        self.border: UpConv2d | None = None
        if self.pads and config.probe_big:
            self.border = UpConv2d(self.border_width, channels)

    def heads(self) -> list[nn.Conv2d]:
        """Return the last layers."""
        return [self.centre] if self.border is None else [self.centre, self.border]

    def forward(self, feature_BFhw: torch.Tensor) -> torch.Tensor:
        """Compute the logits, (B, C, N, N)."""
        up_BFhw = self.up(feature_BFhw)
        if not self.pads:
            whole_BCHW: torch.Tensor = self.centre(up_BFhw)
            return whole_BCHW
        quarter = up_BFhw.shape[-1] // 2
        centre_BCHW = functional.pad(self.centre(up_BFhw), (quarter,) * 4)
        if self.border is None:
            return centre_BCHW
        border_BCHW = self.border(up_BFhw[:, : self.border_width])
        inside_hw = up_BFhw.new_zeros(up_BFhw.shape[-2:])
        outside_HW = functional.pad(inside_hw, (quarter,) * 4, value=1.0)
        return centre_BCHW + outside_HW * border_BCHW


class UpConv2d(nn.Conv2d):
    """Nearest-neighbour upsampling, then a 3 × 3 convolution: (B, in, H, W) -> (B, out, 2H, 2W).

    It stores the 3 × 3 weight and applies both steps as one transposed convolution of stride 2.
    This is exact and needs 4 instead of 9 multiplications per output and channel.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)

    def forward(self, feature_BFHW: torch.Tensor) -> torch.Tensor:
        """Return the upsampled and convolved features, (B, out, 2H, 2W)."""
        weight_FGkk = _fold_taps(_fold_taps(self.weight.transpose(0, 1), dim=2), dim=3)
        return functional.conv_transpose2d(
            feature_BFHW, weight_FGkk, self.bias, stride=2, padding=1
        )


def _fold_taps(weight: torch.Tensor, dim: int) -> torch.Tensor:
    """Combine the 3 taps along `dim` into the 4 taps of the transposed convolution.

    After the upsampling, two neighbouring taps act on the same input pixel; which two depends on
    whether the output pixel is even or odd.
    """
    first, second, third = weight.unbind(dim)
    return torch.stack([third, second + third, first + second, first], dim)


def _at_least_single(values: torch.Tensor) -> torch.Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
