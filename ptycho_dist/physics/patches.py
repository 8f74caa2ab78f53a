"""Overlapping patches on a shared canvas, and probes between pixels.

    O(r) = Σ_j w_j(r - r_j)·O_j(r - r_j) / Σ_j w_j(r - r_j),   w = Σ_p |P_p|² / max + 1e-4

Each pixel of the canvas is the mean of the patches that cover it, each weighted by how brightly its
probe lights the pixel: where many patches overlap they count as one, and a constant stays that
constant. Patches lie on whole pixels; the rest of a position moves the probe (`moved_probe`).

Merging then extracting is what makes neighbouring patterns agree on one object: PtychoPINN's
"object_big" (Hoidn, Mishra & Mehta, Sci. Rep. 13, 22789 (2023)) is the case of gridsize².
"""

from __future__ import annotations

import math

import torch

_WEIGHT_FLOOR = 1e-4


def moved_probe(probe_PHW: torch.Tensor, rest_BC2: torch.Tensor) -> torch.Tensor:
    """The probe moved by a part of a pixel for each patch, (B, C, P, H, W) complex; B may be 0.

        P_j(r) = P(r - rest_j) = F⁻¹[ FP · exp(-2πi f·rest_j) ]

    Exact for a probe that dies out before the edge of its window.

    Args:
        probe_PHW: complex modes.
        rest_BC2: last axis (x, y), px.
    """
    height, width = probe_PHW.shape[-2:]
    rest_x, rest_y = rest_BC2[..., 0], rest_BC2[..., 1]
    turn_BCH = _turn(height, rest_y)
    turn_BCW = _turn(width, rest_x)
    turn_BCHW = turn_BCH[..., :, None] * turn_BCW[..., None, :]
    spectrum_BCPHW = torch.fft.fft2(probe_PHW) * turn_BCHW.unsqueeze(2)
    if spectrum_BCPHW.shape[0] == 0:  # MKL refuses to transform nothing
        return spectrum_BCPHW
    return torch.fft.ifft2(spectrum_BCPHW)


def _turn(length: int, rest_BC: torch.Tensor) -> torch.Tensor:
    frequency = torch.fft.fftfreq(length, device=rest_BC.device, dtype=rest_BC.dtype)
    angle = -2 * math.pi * rest_BC.unsqueeze(-1) * frequency
    return torch.polar(torch.ones_like(angle), angle)


def moved_patches(object_BCHW: torch.Tensor, rest_BC2: torch.Tensor) -> torch.Tensor:
    """Patches drawn around the probe, put on whole pixels: (B, C, H, W) complex; B may be 0.

    For a network that sees amplitudes alone, which a shift of the object does not change: its
    patches are centred on the position. O(r - rest) by linear interpolation along each axis,
    edges repeated, so that a constant stays that constant.

    Args:
        object_BCHW: complex patches, centred on the position.
        rest_BC2: last axis (x, y), px, |rest| <= 1.
    """
    moved = _moved_along(object_BCHW, rest_BC2[..., 0], dim=-1)
    return _moved_along(moved, rest_BC2[..., 1], dim=-2)


def _moved_along(object_BCHW: torch.Tensor, rest_BC: torch.Tensor, dim: int) -> torch.Tensor:
    length = object_BCHW.shape[dim]
    first = object_BCHW.narrow(dim, 0, 1)
    last = object_BCHW.narrow(dim, length - 1, 1)
    before = torch.cat([first, object_BCHW.narrow(dim, 0, length - 1)], dim)
    after = torch.cat([object_BCHW.narrow(dim, 1, length - 1), last], dim)
    forward = rest_BC.clamp_min(0)[..., None, None]
    backward = (-rest_BC).clamp_min(0)[..., None, None]
    return object_BCHW * (1 - forward - backward) + before * forward + after * backward


def merge_weights(probe_BCPHW: torch.Tensor) -> torch.Tensor:
    """w, (B, C, H, W) real: how brightly each patch is lit, in [1e-4, 1 + 1e-4]."""
    lit_BCHW = (probe_BCPHW.real**2 + probe_BCPHW.imag**2).sum(dim=2)
    if lit_BCHW.shape[0] == 0:
        return lit_BCHW
    return lit_BCHW / lit_BCHW.amax(dim=(-2, -1), keepdim=True) + _WEIGHT_FLOOR


class CanvasSums:
    """Σ w·O and Σ w on B canvases, patch by patch: what ranks can add up.

    The memory is that of the canvases, however many patches are added.
    """

    def __init__(
        self, canvases: int, shape_YX: tuple[int, int], like: torch.Tensor, double: bool = False
    ) -> None:
        """`like`: complex tensor that gives device and dtype; `double`: sum in twice its digits."""
        dtype = torch.complex128 if double else like.dtype
        self._shape = (canvases, *shape_YX)
        count = math.prod(self._shape)
        self.weighted = torch.zeros(count, dtype=dtype, device=like.device)
        """(B·Y·X,) complex, Σ w·O."""
        self.weights = torch.zeros(count, dtype=self.weighted.real.dtype, device=like.device)
        """(B·Y·X,) real, Σ w."""

    def add(
        self, object_BCHW: torch.Tensor, weight_BCHW: torch.Tensor, corner_BC2: torch.Tensor
    ) -> None:
        """Add the C patches of each canvas; B may be 0.

        Args:
            object_BCHW: complex.
            weight_BCHW: real, above 0.
            corner_BC2: int64, last axis (x, y), canvas pixel of the patches' pixel [0, 0].
        """
        index = _canvas_index(corner_BC2, object_BCHW.shape[-1], self._shape[1:]).reshape(-1)
        weighted = (object_BCHW * weight_BCHW).reshape(-1).to(self.weighted.dtype)
        self.weighted = self.weighted.index_add(0, index, weighted)
        self.weights = self.weights.index_add(
            0, index, weight_BCHW.reshape(-1).to(self.weights.dtype)
        )

    def object_BYX(self, elsewhere: complex | torch.Tensor = 1.0) -> torch.Tensor:
        """The weighted mean, (B, Y, X) complex; `elsewhere` where no patch lies."""
        covered = self.weights > 0
        mean = self.weighted / torch.where(covered, self.weights, 1.0)
        if isinstance(elsewhere, torch.Tensor):
            elsewhere = elsewhere.reshape(-1)
        return torch.where(covered, mean, elsewhere).reshape(self._shape)


def extract_patches(canvas_BYX: torch.Tensor, corner_BC2: torch.Tensor, size: int) -> torch.Tensor:
    """The patches (B, C, size, size) of the canvases (B, Y, X) on which they lie; B may be 0.

    `corner_BC2` as in `CanvasSums.add`.
    """
    index = _canvas_index(corner_BC2, size, canvas_BYX.shape[1:])
    return canvas_BYX.reshape(-1).index_select(0, index.reshape(-1)).reshape(index.shape)


def _canvas_index(corner_BC2: torch.Tensor, size: int, shape_YX: tuple[int, ...]) -> torch.Tensor:
    """Positions in a flattened (B, Y, X), (B, C, size, size) int64."""
    rows, columns = shape_YX
    along = torch.arange(size, device=corner_BC2.device)
    x_BCW = corner_BC2[..., 0, None] + along
    y_BCH = corner_BC2[..., 1, None] + along
    index = y_BCH[..., :, None] * columns + x_BCW[..., None, :]
    batch = torch.arange(corner_BC2.shape[0], device=corner_BC2.device)
    return index + (batch * rows * columns)[:, None, None, None]


def merge_patches(
    object_BCHW: torch.Tensor,
    weight_BCHW: torch.Tensor,
    corner_BC2: torch.Tensor,
    shape_YX: tuple[int, int],
) -> torch.Tensor:
    """One canvas for each group of C patches, (B, Y, X) complex; see `CanvasSums.add`."""
    sums = CanvasSums(object_BCHW.shape[0], shape_YX, object_BCHW)
    sums.add(object_BCHW, weight_BCHW, corner_BC2)
    return sums.object_BYX()
