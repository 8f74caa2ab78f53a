"""Compare R of a reconstruction with that of rPIE with the same fixed probe, and of a flat guess.

    python benchmarks/fixed_probe.py RUN_DIR/reconstruction/object.h5 SCAN.npz

This is for measured scans, whose truth is unknown. All rows use the probe of object.h5, which the
run may have learned.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import h5py
import numpy as np
import torch
from rpie import RPIE

from ptycho_dist.config.data import DataConfig
from ptycho_dist.config.model import ModelConfig
from ptycho_dist.data.formats import read_scan
from ptycho_dist.data.opening import whole_scan_groups
from ptycho_dist.models.scan_physics import ScanPhysics
from ptycho_dist.reconstruction.stitch import Worker, object_consistency
from ptycho_dist.runtime.agreement import Agreement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("object_file", type=Path, metavar="OBJECT.h5")
    parser.add_argument("scan", type=Path, metavar="SCAN.npz")
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.05, 0.2, 0.5, 1.0])
    options = parser.parse_args()
    scan = read_scan(options.scan)
    data = DataConfig(train_data_file=options.scan)
    dataset = whole_scan_groups(scan, data, ModelConfig(gridsize=1), None)
    with h5py.File(options.object_file) as file:
        object_YX, probe_PHW = file["object"][:], file["probe"][:]
    physics = ScanPhysics(torch.from_numpy(probe_PHW), dataset.mean_total_counts, trainable=False)
    worker = Worker(0, 1, torch.device("cpu"), Agreement(1), 64)

    def consistency(canvas_YX: np.ndarray) -> float:
        canvas = torch.from_numpy(canvas_YX.astype(np.complex64))
        return object_consistency(canvas, physics, dataset, worker)

    print(f"flat guess: R = {consistency(np.ones_like(object_YX)):.4f}")
    for alpha in options.alphas:
        engine = RPIE(scan, probe_PHW, alpha=alpha)
        for _ in engine.iterations(options.iterations):
            pass
        print(
            f"rPIE, {options.iterations} iterations, α = {alpha}: "
            f"R = {consistency(engine.object_YX):.4f}"
        )
    print(f"{options.object_file}: R = {consistency(object_YX):.4f}")


if __name__ == "__main__":
    main()
