"""Merge overlapping patches on a shared canvas, and move probes by fractions of a pixel.

    O(r) = Σ_j w_j(r - r_j)·O_j(r - r_j) / Σ_j w_j(r - r_j),   w = Σ_p |P_p|² / max + 1e-4

Each pixel of the canvas is the mean of the patches that cover it, weighted by how brightly each
probe illuminates the pixel; the merge of a constant is that constant. Patches lie on whole pixels;
the rest of a position moves the probe (`moved_probe`).

Merging and extracting makes neighbouring patterns agree on one object. PtychoPINN's "object_big"
(Hoidn, Mishra & Mehta, Sci. Rep. 13, 22789 (2023)) is the special case of gridsize² patches.
"""

from __future__ import annotations

import math

import torch

_WEIGHT_FLOOR = 1e-4


def moved_probe(probe_PHW: torch.Tensor, rest_BC2: torch.Tensor) -> torch.Tensor:
    """Move the probe by a fraction of a pixel for each patch.

        P_j(r) = P(r - rest_j) = F⁻¹[ FP · exp(-2πi f·rest_j) ]

    This Fourier shift is exact for a probe that vanishes before the edge of its window.

    Args:
        probe_PHW: Complex modes.
        rest_BC2: Shifts with last axis (x, y), px; B may be 0.

    Returns:
        (B, C, P, H, W) complex.
    """
    height, width = probe_PHW.shape[-2:]
    rest_x, rest_y = rest_BC2[..., 0], rest_BC2[..., 1]
    turn_BCH = _turn(height, rest_y)
    turn_BCW = _turn(width, rest_x)
    turn_BCHW = turn_BCH[..., :, None] * turn_BCW[..., None, :]
    spectrum_BCPHW = torch.fft.fft2(probe_PHW) * turn_BCHW.unsqueeze(2)
    if spectrum_BCPHW.shape[0] == 0:  # MKL refuses an empty transform
        return spectrum_BCPHW
    return torch.fft.ifft2(spectrum_BCPHW)


def _turn(length: int, rest_BC: torch.Tensor) -> torch.Tensor:
    frequency = torch.fft.fftfreq(length, device=rest_BC.device, dtype=rest_BC.dtype)
    angle = -2 * math.pi * rest_BC.unsqueeze(-1) * frequency
    return torch.polar(torch.ones_like(angle), angle)


def moved_patches(object_BCHW: torch.Tensor, rest_BC2: torch.Tensor) -> torch.Tensor:
    """Move patches that are centred on their positions to whole pixels.

    A network that sees only amplitudes, which a shift of the object does not change, draws patches
    that are centred on the position. This computes O(r - rest) by linear interpolation along each
    axis with repeated edges, so that a constant remains that constant.

    Args:
        object_BCHW: Complex patches, centred on the position; B may be 0.
        rest_BC2: Shifts with last axis (x, y), px, |rest| <= 1.

    Returns:
        (B, C, H, W) complex.
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
    """Compute the weights w, (B, C, H, W) real in [1e-4, 1 + 1e-4], from the probe's intensity."""
    lit_BCHW = (probe_BCPHW.real**2 + probe_BCPHW.imag**2).sum(dim=2)
    if lit_BCHW.shape[0] == 0:
        return lit_BCHW
    return lit_BCHW / lit_BCHW.amax(dim=(-2, -1), keepdim=True) + _WEIGHT_FLOOR


class CanvasSums:
    """The sums Σ w·O and Σ w on B canvases, which can be added over patches and over ranks.

    The memory is that of the canvases and does not grow with the number of patches.
    """

    def __init__(
        self, canvases: int, shape_YX: tuple[int, int], like: torch.Tensor, double: bool = False
    ) -> None:
        """Start with empty canvases.

        Args:
            canvases: B.
            shape_YX: Rows and columns of each canvas.
            like: Complex tensor whose device and dtype to use.
            double: Whether to sum in complex128 instead.
        """
        dtype = torch.complex128 if double else like.dtype
        self._shape = (canvases, *shape_YX)
        count = math.prod(self._shape)
        self.weighted = torch.zeros(count, dtype=dtype, device=like.device)
        """Σ w·O, (B·Y·X,) complex."""
        self.weights = torch.zeros(count, dtype=self.weighted.real.dtype, device=like.device)
        """Σ w, (B·Y·X,) real."""

    def add(
        self, object_BCHW: torch.Tensor, weight_BCHW: torch.Tensor, corner_BC2: torch.Tensor
    ) -> None:
        """Add the C patches of each canvas; B may be 0.

        Args:
            object_BCHW: Complex patches.
            weight_BCHW: Real weights above 0.
            corner_BC2: int64 with last axis (x, y), the canvas pixel under the patch's pixel
                [0, 0].
        """
        index = _canvas_index(corner_BC2, object_BCHW.shape[-1], self._shape[1:]).reshape(-1)
        weighted = (object_BCHW * weight_BCHW).reshape(-1).to(self.weighted.dtype)
        self.weighted = self.weighted.index_add(0, index, weighted)
        self.weights = self.weights.index_add(
            0, index, weight_BCHW.reshape(-1).to(self.weights.dtype)
        )

    def object_BYX(self, elsewhere: complex | torch.Tensor = 1.0) -> torch.Tensor:
        """Return the weighted mean, (B, Y, X) complex, with `elsewhere` outside all patches."""
        covered = self.weights > 0
        mean = self.weighted / torch.where(covered, self.weights, 1.0)
        if isinstance(elsewhere, torch.Tensor):
            elsewhere = elsewhere.reshape(-1)
        return torch.where(covered, mean, elsewhere).reshape(self._shape)


def extract_patches(canvas_BYX: torch.Tensor, corner_BC2: torch.Tensor, size: int) -> torch.Tensor:
    """Cut the patches (B, C, size, size) out of their canvases (B, Y, X); B may be 0.

    Args:
        canvas_BYX: Canvases.
        corner_BC2: See `CanvasSums.add`.
        size: Rows and columns of a patch.
    """
    index = _canvas_index(corner_BC2, size, canvas_BYX.shape[1:])
    return canvas_BYX.reshape(-1).index_select(0, index.reshape(-1)).reshape(index.shape)


def _canvas_index(corner_BC2: torch.Tensor, size: int, shape_YX: tuple[int, ...]) -> torch.Tensor:
    """Compute the indices of all patch pixels in the flattened canvases, (B, C, size, size)."""
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
    """Merge each group of C patches on its canvas, (B, Y, X) complex; see `CanvasSums.add`."""
    sums = CanvasSums(object_BCHW.shape[0], shape_YX, object_BCHW)
    sums.add(object_BCHW, weight_BCHW, corner_BC2)
    return sums.object_BYX()
