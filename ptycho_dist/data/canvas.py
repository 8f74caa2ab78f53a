"""Place the patches of a scan on one canvas of whole pixels. Torch-free.

A scan position (x_px, y_px) is the centre of the probe: x is the column, y is the row, and pixel
centres are at whole numbers. The N × N patch of a pattern lies on whole pixels, with its pixel
[N/2, N/2] on the pixel nearest to the position. The remainder, at most half a pixel in each
direction, is called `rest`. The probe is shifted by it, never the object, because interpolation
would blur the object's sharp edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class CanvasLayout:
    """The smallest canvas that holds all patches of a scan, and the place of each patch.

    Attributes:
        corner_M2: (M, 2) int64, the (x, y) canvas pixel under pixel [0, 0] of each patch.
        rest_M2: (M, 2) float64, (x, y) position minus nearest whole pixel, px, in [-1/2, 1/2).
        shape_YX: Rows and columns of the canvas.
        origin_px: (x, y) of canvas pixel [0, 0] in the frame of the positions.
    """

    corner_M2: np.ndarray
    rest_M2: np.ndarray
    shape_YX: tuple[int, int]
    origin_px: tuple[int, int]


def canvas_layout(x_px: np.ndarray, y_px: np.ndarray, size: int) -> CanvasLayout:
    """Place patches at their scan positions.

    Args:
        x_px: (M,) float64, columns of the positions, finite.
        y_px: (M,) float64, rows of the positions, finite.
        size: N, rows and columns of a patch.
    """
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
