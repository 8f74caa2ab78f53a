"""The picture of a reconstruction: amplitude and phase, and the truth's where it is known."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from ptycho_dist.reconstruction.scores import align_to

_DARK = 0.05  # of the brightest illumination; below it nothing is shown
_CUT_PERCENT = 0.5  # of the pixels at either end that do not set the colours
_DPI = 120


@dataclass(frozen=True, eq=False)
class PictureSpec:
    """What is shown.

    Attributes:
        object_YX: complex, of any phase ramp.
        weight_YX: real, how brightly each pixel is lit.
        origin_px: (x, y) of pixel [0, 0] in the frame of the positions.
        title: one line or two.
        region: rows and columns inside which truth and object are aligned; its lit pixels set the
            colours.
        truth_YX: complex, the same pixels, or None.
        positions_px: (M, 2) (x, y), drawn as dots, or None.
    """

    object_YX: np.ndarray
    weight_YX: np.ndarray
    origin_px: tuple[int, int]
    title: str
    region: tuple[slice, slice]
    truth_YX: np.ndarray | None = None
    positions_px: np.ndarray | None = None


def draw_png(spec: PictureSpec) -> bytes:
    """A PNG: amplitude left, phase right, truth below; axes in object pixels, a colour bar each.

    Phases are shown without ramp, from that of the mean: nearest to the truth where there is one.
    The unlit parts of the canvas stay empty.
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
        sets_YX = of(rows[-1][1][spec.region])  # the truth sets it, where there is one
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
    figure.suptitle(spec.title, fontsize=10, parse_math=False)  # $ in the name of a file
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    return png.getvalue()


def _without_ramp(spec: PictureSpec) -> np.ndarray:
    """The object with its free factor and ramp chosen: as the truth, or else as a flat object."""
    if spec.truth_YX is None:
        wanted_YX = np.ones_like(spec.object_YX)
        return _turned_like(spec.object_YX, wanted_YX, spec.weight_YX)
    inside_YX = np.zeros(spec.object_YX.shape)
    inside_YX[spec.region] = 1
    turned = align_to(spec.object_YX, spec.truth_YX, inside_YX)
    return turned * _turn_of(spec.truth_YX, spec.region)


def _turn_of(object_YX: np.ndarray, region: tuple[slice, slice]) -> np.complexfloating:
    """The factor that makes the mean of a region real."""
    return np.exp(-1j * np.angle(object_YX[region].mean()))


def _turned_like(object_YX: np.ndarray, wanted_YX: np.ndarray, weight_YX: np.ndarray) -> np.ndarray:
    """`align_to`, with the amplitude left as it is."""
    turned = align_to(object_YX, wanted_YX, weight_YX)
    scale = np.linalg.norm(object_YX) / (np.linalg.norm(turned) or 1.0)
    return np.asarray(turned * scale)


def is_lit(weight: np.ndarray) -> np.ndarray:
    """Which pixels the probe lights brightly enough to be shown; any shape, bool."""
    return np.asarray(weight >= _DARK * weight.max())


def colour_range(values: np.ndarray) -> tuple[float, float]:
    """Least and largest colour for some values, a few outliers at either end left out."""
    low, high = np.percentile(values, [_CUT_PERCENT, 100 - _CUT_PERCENT])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(high) + 0.5)
