"""Draw a reconstruction: amplitude and phase, with those of the truth if it is known."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from ptycho_dist.reconstruction.scores import align_to

_DARK = 0.05  # part of the brightest illumination below which pixels are not shown
_CUT_PERCENT = 0.5  # percentage of pixels at either end that do not affect the colour range
_DPI = 120


@dataclass(frozen=True, eq=False)
class PictureSpec:
    """The content of a picture.

    Attributes:
        object_YX: Complex object with any phase ramp.
        weight_YX: Real, brightness with which each pixel is illuminated.
        origin_px: (x, y) of pixel [0, 0] in the frame of the positions.
        title: Title of one or two lines.
        region: Rows and columns inside which truth and object are aligned; its lit pixels set the
            colour range.
        truth_YX: Complex truth on the same pixels, or None.
        positions_px: (M, 2) (x, y) scan positions to draw as dots, or None.
    """

    object_YX: np.ndarray
    weight_YX: np.ndarray
    origin_px: tuple[int, int]
    title: str
    region: tuple[slice, slice]
    truth_YX: np.ndarray | None = None
    positions_px: np.ndarray | None = None


def draw_png(spec: PictureSpec) -> bytes:
    """Draw a PNG with the amplitude on the left, the phase on the right, and the truth below.

    Axes are in object pixels, and each image has a colour bar. Phases are shown without ramp and
    relative to the phase of the mean; if the truth is known, they are aligned with it. Unlit parts
    of the canvas remain empty.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [("reconstruction", _without_ramp(spec))]
    if spec.truth_YX is not None:
        rows.append(
            ("truth", spec.truth_YX * np.exp(-1j * np.angle(spec.truth_YX[spec.region].mean())))
        )
    shape_YX = spec.object_YX.shape
    x_0, y_0 = spec.origin_px
    extent = (x_0 - 0.5, x_0 + shape_YX[1] - 0.5, y_0 + shape_YX[0] - 0.5, y_0 - 0.5)
    figure = Figure(figsize=(10.5, 4.6 * len(rows) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes_RC = figure.subplots(len(rows), 2, squeeze=False)
    lit_YX = is_lit(spec.weight_YX)
    lit_region = lit_YX[spec.region]
    for column, (quantity, colours) in enumerate(
        (("amplitude", "gray"), ("phase, rad", "viridis"))
    ):
        of = np.abs if column == 0 else np.angle
        sets_YX = of(rows[-1][1][spec.region])  # the truth, if known, sets the colour range
        low, high = colour_range(sets_YX[lit_region] if lit_region.any() else sets_YX)
        for row, (name, image_YX) in enumerate(rows):
            axes = axes_RC[row, column]
            shown = axes.imshow(
                np.ma.masked_where(~lit_YX, of(image_YX)),
                cmap=colours,
                vmin=low,
                vmax=high,
                extent=extent,
                interpolation="nearest",
            )
            axes.set_title(f"{name}: {quantity}", fontsize=10)
            axes.set_xlabel("x, px")
            axes.set_ylabel("y, px")
            figure.colorbar(shown, ax=axes, shrink=0.9)
            if row == 0 and spec.positions_px is not None:
                axes.plot(*spec.positions_px.T, ".", color="tab:red", markersize=1.5)
                axes.set_xlim(extent[:2])
                axes.set_ylim(extent[2:])
    figure.suptitle(spec.title, fontsize=10, parse_math=False)  # a file name may contain $
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    return png.getvalue()


def _without_ramp(spec: PictureSpec) -> np.ndarray:
    """Align the undetermined factor and ramp with the truth, or else with a flat object."""
    if spec.truth_YX is None:
        wanted_YX = np.ones_like(spec.object_YX)
        return _turned_like(spec.object_YX, wanted_YX, spec.weight_YX)
    inside_YX = np.zeros(spec.object_YX.shape)
    inside_YX[spec.region] = 1
    turned = align_to(spec.object_YX, spec.truth_YX, inside_YX)
    return turned * _turn_of(spec.truth_YX, spec.region)


def _turn_of(object_YX: np.ndarray, region: tuple[slice, slice]) -> np.complexfloating:
    """Return the phase factor that makes the mean of a region real."""
    return np.exp(-1j * np.angle(object_YX[region].mean()))


def _turned_like(object_YX: np.ndarray, wanted_YX: np.ndarray, weight_YX: np.ndarray) -> np.ndarray:
    """Align like `align_to`, but keep the amplitude."""
    turned = align_to(object_YX, wanted_YX, weight_YX)
    scale = np.linalg.norm(object_YX) / (np.linalg.norm(turned) or 1.0)
    return np.asarray(turned * scale)


def is_lit(weight: np.ndarray) -> np.ndarray:
    """Find the pixels that the probe illuminates brightly enough to be shown; bool, any shape."""
    return np.asarray(weight >= _DARK * weight.max())


def colour_range(values: np.ndarray) -> tuple[float, float]:
    """Return the limits of the colour range for some values, without outliers at either end."""
    low, high = np.percentile(values, [_CUT_PERCENT, 100 - _CUT_PERCENT])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(high) + 0.5)
