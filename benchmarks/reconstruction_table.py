"""Compare a trained network with a flat guess, the untrained network and rPIE on one scan.

    python benchmarks/reconstruction_table.py RUN_DIR [SCAN.npz] [--iterations 4 10 40]

All rows use the same data and, if the truth of a simulated scan is known, the same metrics
(specs/reconstruction.md). Seconds are wall-clock time of one process on this machine; those of the
network are only its stitch, because it is trained once.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rpie import RPIE

from ptycho_dist.data.formats import ScanData
from ptycho_dist.data.opening import read_scan_of_size, whole_scan_groups
from ptycho_dist.data.simulate import read_truth, truth_path
from ptycho_dist.data.store import GroupDataset
from ptycho_dist.models.registry import build_model
from ptycho_dist.models.scan_physics import ScanPhysics
from ptycho_dist.models.views import PatchNetwork
from ptycho_dist.reconstruction.scores import scan_region, score_object
from ptycho_dist.reconstruction.stitch import Worker, object_consistency, stitch
from ptycho_dist.reconstruction.trained import load_trained
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.runtime.agreement import Agreement


@dataclass(frozen=True)
class Row:
    """One row of the table; scores are None without a truth."""

    name: str
    ssim_amplitude: float | None
    ssim_phase: float | None
    data_consistency: float
    seconds: float | None


class Comparison:
    """A scan, the physics that all rows share, and the truth if it is known."""

    def __init__(self, path: Path, run: RunDirectory) -> None:
        self.trained = load_trained(run, torch.device("cpu"))
        config = self.trained.config
        self.scan: ScanData = read_scan_of_size(path, config.model.N)
        self.dataset: GroupDataset = whole_scan_groups(self.scan, config.data, config.model, None)
        learned = self.trained.learned_probe_PHW
        probe_PHW = self.dataset.probe_PHW if learned is None else learned
        self.physics = ScanPhysics(probe_PHW, self.dataset.mean_total_counts, trainable=False)
        self.worker = Worker(0, 1, torch.device("cpu"), Agreement(1), 32)
        self.truth_YX = None
        if truth_path(path).is_file():
            left, top = self.dataset.layout.origin_px
            rows, columns = self.dataset.layout.shape_YX
            truth_YX = read_truth(truth_path(path), self.scan)
            self.truth_YX = truth_YX[top : top + rows, left : left + columns]

    def row(self, name: str, object_YX: np.ndarray, seconds: float | None) -> Row:
        canvas_YX = torch.from_numpy(object_YX.astype(np.complex64))
        consistency = object_consistency(canvas_YX, self.physics, self.dataset, self.worker)
        if self.truth_YX is None:
            return Row(name, None, None, consistency, seconds)
        layout = self.dataset.layout
        region = scan_region(self.scan.x_px, self.scan.y_px, layout.shape_YX, layout.origin_px)
        scores = score_object(object_YX, self.truth_YX, region)
        return Row(name, scores.ssim_amplitude, scores.ssim_phase, consistency, seconds)

    def stitched(self, name: str, network: PatchNetwork) -> Row:
        began = time.monotonic()
        done = stitch(network.eval(), self.physics, self.dataset, self.worker)
        return self.row(name, done.object_YX, time.monotonic() - began)

    def iterated(self, counts: list[int], alpha: float) -> list[Row]:
        engine = RPIE(self.scan, self.physics.probe_PHW.numpy(), alpha=alpha)
        rows, seconds, began = [], 0.0, time.monotonic()
        for number in engine.iterations(max(counts)):
            if number in counts:
                seconds += time.monotonic() - began
                rows.append(self.row(f"rPIE, {number} iterations", engine.object_YX, seconds))
                began = time.monotonic()
        return rows


def gain(row: Row, flat: Row, best: Row, score: str) -> float:
    """Return which part of the best row's gain over the flat guess a row achieves."""
    low = getattr(flat, score)
    return (getattr(row, score) - low) / (getattr(best, score) - low)


def markdown(rows: list[Row]) -> str:
    def figure(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    lines = ["| | SSIM amplitude | SSIM phase | R | seconds |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {row.name} | {figure(row.ssim_amplitude, 3)} | {figure(row.ssim_phase, 3)} "
        f"| {row.data_consistency:.5f} | {figure(row.seconds, 1)} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN_DIR")
    parser.add_argument("scan", type=Path, nargs="?", help="default: the run's training file")
    parser.add_argument("--iterations", type=int, nargs="+", default=[4, 10, 40])
    parser.add_argument("--alpha", type=float, default=0.5, help="α of rPIE (default: 0.5)")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    run = RunDirectory(options.run)
    comparison = Comparison(options.scan or run.config().data.train_data_file, run)
    flat = comparison.row("flat guess", np.ones(comparison.dataset.layout.shape_YX), None)
    torch.manual_seed(0)
    untrained = comparison.stitched("network, untrained", build_model(run.config().model))
    rpie = comparison.iterated(options.iterations, options.alpha)
    trained = comparison.stitched("network, trained", comparison.trained.network)
    print(markdown([flat, untrained, *rpie, trained]))
    if trained.ssim_amplitude is not None:
        for score in ("ssim_amplitude", "ssim_phase"):
            best = max(rpie, key=lambda row: getattr(row, score))
            print(
                f"{score}: the network has {gain(trained, flat, best, score):.0%} of the gain of "
                f"{best.name} over the flat guess, untrained "
                f"{gain(untrained, flat, best, score):.0%}"
            )


if __name__ == "__main__":
    main()
