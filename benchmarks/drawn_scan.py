"""Make a scan of an object unlike the simulator's: letters, rings, a grating, a soft gradient.

    python benchmarks/drawn_scan.py OUT.npz

Probe, positions and noise are those of `ptycho-data simulate`; the truth lies beside the scan.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ptycho_dist.data.formats import ScanData, write_scan
from ptycho_dist.data.simulate import (
    SimulationSpec,
    expected_counts,
    simulate,
    truth_path,
    write_truth,
)


def drawn_levels(rows: int, columns: int, text: str) -> np.ndarray:
    """Draw `text` in large letters over rings and a grating, (rows, columns) float64, 0 to 1."""
    figure = Figure(figsize=(columns / 100, rows / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    along = np.linspace(-1, 1, 400)
    radius = np.hypot(*np.meshgrid(along, along))
    axes.imshow(np.cos(60 * radius**2) + radius, cmap="gray", aspect="auto", extent=(0, 1, 0, 1))
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=rows / 5, weight="bold")
    for number in range(12):
        axes.axvline(0.1 + 0.02 * number, 0.05, 0.25, color="white", linewidth=1.5)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:rows, :columns, 0] / 255.0


def drawn_scan(spec: SimulationSpec) -> tuple[ScanData, np.ndarray]:
    """Simulate a scan of a drawn object; returns the scan and the object."""
    like, truth = simulate(spec)
    rows, columns = truth.object_YX.shape
    amplitude_YX = 0.4 + 0.6 * drawn_levels(rows, columns, "Ab\n42")
    phase_YX = np.pi * (drawn_levels(rows, columns, "ψ\n∮E")[:, ::-1] - 0.5)
    object_YX = (amplitude_YX * np.exp(1j * phase_YX)).astype(np.complex64)
    counts_MHW = expected_counts(object_YX, truth.probe_PHW, like.x_px, like.y_px)
    noisy_MHW = np.random.default_rng(spec.seed).poisson(counts_MHW)
    amp_MHW = np.sqrt(noisy_MHW).astype(np.float32)
    return ScanData(amp_MHW, truth.probe_PHW, like.x_px, like.y_px, "counts"), object_YX


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT.npz")
    parser.add_argument("--n-patterns", type=int, default=1024)
    options = parser.parse_args()
    spec = SimulationSpec(n_patterns=options.n_patterns)
    scan, object_YX = drawn_scan(spec)
    _, truth = simulate(spec)
    write_truth(truth_path(options.out), dataclasses.replace(truth, object_YX=object_YX), scan)
    write_scan(options.out, scan, {"drawn": "benchmarks/drawn_scan.py"})


if __name__ == "__main__":
    main()
