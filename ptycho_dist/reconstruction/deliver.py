"""Write the results of a reconstruction, object.h5, object.png and metrics.json, by one process."""

from __future__ import annotations

import io
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ptycho_dist.data.canvas import CanvasLayout
from ptycho_dist.data.formats import ScanData
from ptycho_dist.data.simulate import read_truth, truth_path
from ptycho_dist.errors import DataError, UserError
from ptycho_dist.reconstruction.picture import PictureSpec, draw_png
from ptycho_dist.reconstruction.scores import ObjectScores, scan_region, score_object
from ptycho_dist.reconstruction.stitch import StitchedObject
from ptycho_dist.rundir.files import json_bytes, write_bytes_atomic


@dataclass(frozen=True)
class ReconstructionSource:
    """The scan and the network from which a reconstruction was made.

    Attributes:
        data_file: The scan file.
        run: Id of the run whose network was used.
        checkpoint: Name of the checkpoint that was used.
        ranks: Number of ranks that computed it.
        seconds: Wall-clock time of the stitch.
        probe: Origin of the probe: the data "file", or "learned" by the run.
    """

    data_file: Path
    run: str
    checkpoint: str
    ranks: int
    seconds: float
    probe: str


@dataclass(frozen=True)
class Delivered:
    """The paths of the written files, and the content of metrics.json."""

    object_file: Path
    picture: Path
    metrics_file: Path
    metrics: dict[str, Any]


def deliver(
    folder: Path,
    stitched: StitchedObject,
    scan: ScanData,
    layout: CanvasLayout,
    probe_PHW: np.ndarray,
    source: ReconstructionSource,
    *,
    truth_file: Path | None = None,
    show_positions: bool = False,
) -> Delivered:
    """Write the object, its picture and its metrics (specs/reconstruction.md).

    Each file appears completely or not at all, metrics.json last.

    Args:
        folder: Folder for the files; it is made if it is missing.
        stitched: The object on the canvas of `layout`.
        scan: The data from which it was made.
        layout: Layout of the canvas of the scan.
        probe_PHW: complex64 modes that were used, sqrt(counts).
        source: Origin of the reconstruction, for attributes, title and metrics.
        truth_file: Truth of a simulated scan; None uses NAME.truth.npz beside the data file, if it
            exists.
        show_positions: Whether the picture shows the scan positions.

    Raises:
        UserError: The folder cannot be written.
        DataError: The given truth file does not belong to this scan.
    """
    truth_YX, truth_note = _truth_on_canvas(scan, layout, source.data_file, truth_file)
    metrics = _metrics(stitched, scan, layout, truth_YX, truth_note, source)
    picture = PictureSpec(
        object_YX=stitched.object_YX,
        weight_YX=stitched.weight_YX,
        origin_px=layout.origin_px,
        title=f"{source.data_file.name} · {source.run} · {source.checkpoint}\n"
        + _headline(metrics),
        region=_region(scan, layout) or _everything(layout),
        truth_YX=truth_YX,
        positions_px=np.stack([scan.x_px, scan.y_px], axis=1) if show_positions else None,
    )
    done = Delivered(folder / "object.h5", folder / "object.png", folder / "metrics.json", metrics)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        done.metrics_file.unlink(missing_ok=True)  # an older one would describe another object
        write_bytes_atomic(done.object_file, _hdf5(stitched, scan, layout, probe_PHW, source))
        write_bytes_atomic(done.picture, draw_png(picture))
        write_bytes_atomic(done.metrics_file, json_bytes(metrics))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
        raise UserError(f"{folder}: cannot be written: {reason}") from None
    return done


def _headline(metrics: dict[str, Any]) -> str:
    found = metrics["reconstruction"]
    text = f"R = {found['data_consistency']:.4f}"
    if "ssim_amplitude" in found:
        amplitude, phase = (
            "–" if score is None else f"{score:.3f}"
            for score in (found["ssim_amplitude"], found["ssim_phase"])
        )
        text += f", SSIM amplitude {amplitude}, phase {phase}"
    return text


def _metrics(
    stitched: StitchedObject,
    scan: ScanData,
    layout: CanvasLayout,
    truth_YX: np.ndarray | None,
    truth_note: str,
    source: ReconstructionSource,
) -> dict[str, Any]:
    found: dict[str, Any] = {"data_consistency": stitched.data_consistency}
    flat: dict[str, Any] = {"data_consistency": stitched.flat_data_consistency}
    metrics: dict[str, Any] = {
        "format": 1,
        "data_file": str(source.data_file),
        "run": source.run,
        "checkpoint": source.checkpoint,
        "probe": source.probe,
        "ranks": source.ranks,
        "patterns": scan.n_patterns,
        "seconds": round(source.seconds, 3),
        "truth": truth_note,
        "reconstruction": found,
        "flat_guess": flat,
    }
    region = _region(scan, layout)
    if truth_YX is not None and region is not None:
        rows, columns = region
        metrics["region_px"] = {
            "rows": [rows.start, rows.stop],
            "columns": [columns.start, columns.stop],
        }
        scores = score_object(stitched.object_YX, truth_YX, region)
        found.update(_plain(scores))
        flat.update(_plain(score_object(np.ones_like(truth_YX), truth_YX, region)))
        metrics["fourier_ring_correlation"] = {
            "frequency_cycles_per_px": scores.frc.frequency_cycles_per_px.tolist(),
            "correlation": scores.frc.correlation.tolist(),
            "half_bit": scores.frc.half_bit.tolist(),
        }
    return metrics


def _plain(scores: ObjectScores) -> dict[str, float | None]:
    """Replace scores that are not finite by None, as JSON has no infinity."""
    values = {
        "ssim_amplitude": scores.ssim_amplitude,
        "ssim_phase": scores.ssim_phase,
        "psnr_amplitude_db": scores.psnr_amplitude,
        "psnr_phase_db": scores.psnr_phase,
        "frc_resolution_px": scores.frc.resolution_px,
    }
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _region(scan: ScanData, layout: CanvasLayout) -> tuple[slice, slice] | None:
    """Return the region where the data determine the object; None if it is too small to score."""
    try:
        return scan_region(scan.x_px, scan.y_px, layout.shape_YX, layout.origin_px)
    except ValueError:
        return None


def _everything(layout: CanvasLayout) -> tuple[slice, slice]:
    rows, columns = layout.shape_YX
    return slice(0, rows), slice(0, columns)


def _truth_on_canvas(
    scan: ScanData, layout: CanvasLayout, data_file: Path, truth_file: Path | None
) -> tuple[np.ndarray | None, str]:
    """Cut the truth to the canvas; returns it with its path, or None with the reason.

    Raises:
        DataError: The truth file was named by the user and does not fit the scan.
    """
    path = truth_file or truth_path(data_file)
    if truth_file is None and not path.is_file():
        return None, "none: no truth file beside the data"
    try:
        truth_YX = read_truth(path, scan)
        left, top = layout.origin_px
        rows, columns = layout.shape_YX
        if left < 0 or top < 0:
            raise DataError(f"{path}: the object is smaller than the canvas of the scan")
        cut_YX = truth_YX[top : top + rows, left : left + columns]
        if cut_YX.shape != layout.shape_YX:
            raise DataError(f"{path}: the object is smaller than the canvas of the scan")
    except DataError as error:
        if truth_file is not None:
            raise
        return None, f"none: {error}"
    return cut_YX, str(path)


def _hdf5(
    stitched: StitchedObject,
    scan: ScanData,
    layout: CanvasLayout,
    probe_PHW: np.ndarray,
    source: ReconstructionSource,
) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["object"] = stitched.object_YX
        file["weight"] = stitched.weight_YX
        file["probe"] = probe_PHW
        file["x_px"] = scan.x_px
        file["y_px"] = scan.y_px
        file["object"].attrs["origin_px"] = layout.origin_px
        file["object"].attrs["axes"] = "y, x; one pixel is one pixel of the positions"
        file["probe"].attrs["unit"] = "sqrt(counts)"
        file.attrs["format"] = 1
        file.attrs["run"] = source.run
        file.attrs["checkpoint"] = source.checkpoint
        file.attrs["data_file"] = str(source.data_file)
        file.attrs["data_consistency"] = stitched.data_consistency
    return content.getvalue()
