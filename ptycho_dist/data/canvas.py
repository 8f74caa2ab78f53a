"""Where the patches of a scan lie on one canvas of whole pixels. Torch-free.

A position (x_px, y_px) is where the probe stands: x the column, y the row, pixel centres at whole
numbers. The N × N patch of a pattern lies on whole pixels, its pixel [N/2, N/2] on the one nearest
to the position. What is left, at most half a pixel each way, is the `rest`: the probe is moved by
it, never the object, which has sharp edges that an interpolation would blur.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class CanvasLayout:
    """The smallest canvas that holds all patches of a scan, and where each of them lies.

    Attributes:
        corner_M2: (M, 2) int64, (x, y) canvas pixel of pixel [0, 0] of each patch.
        rest_M2: (M, 2) float64, (x, y), px, in [-1/2, 1/2): position minus nearest whole pixel.
        shape_YX: rows and columns of the canvas.
        origin_px: (x, y) of canvas pixel [0, 0] in the frame of the positions.
    """

    corner_M2: np.ndarray
    rest_M2: np.ndarray
    shape_YX: tuple[int, int]
    origin_px: tuple[int, int]


def canvas_layout(x_px: np.ndarray, y_px: np.ndarray, size: int) -> CanvasLayout:
    """The layout of `size` × `size` patches at positions (M,) float64, px, finite."""
    position_M2 = np.stack([x_px, y_px], axis=-1)
    nearest_M2 = np.floor(position_M2 + 0.5)
    corner_M2 = nearest_M2.astype(np.int64) - size // 2
    origin_2 = corner_M2.min(axis=0)
    width, height = (int(length) + size for length in corner_M2.max(axis=0) - origin_2)
    return CanvasLayout(
        corner_M2=corner_M2 - origin_2,
        rest_M2=position_M2 - nearest_M2,
        shape_YX=(height, width),
        origin_px=(int(origin_2[0]), int(origin_2[1])),
    )
