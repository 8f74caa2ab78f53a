"""Applying a trained network: object patches for every group of a scan."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch

from ptycho_dist.checkpoint.catalog import newest_whole
from ptycho_dist.config.inference import InferenceConfig
from ptycho_dist.data.formats import read_scan
from ptycho_dist.data.grouping import build_groups
from ptycho_dist.data.store import GroupDataset
from ptycho_dist.errors import DataError, UserError
from ptycho_dist.models.registry import build_model
from ptycho_dist.physics.forward import diffraction_amplitude, probe_scale
from ptycho_dist.rundir import RunDirectory
from ptycho_dist.rundir.files import fsync_directory


@dataclass(frozen=True)
class Prediction:
    """What was written, and how well it explains the data."""

    path: Path
    patches: int
    data_consistency: float
    """R = Σ(Â − A)² / ΣA² over all predicted patterns; 0 is perfect."""
    passed_over: tuple[str, ...]
    """Newer checkpoints that were not used, with the reasons."""


def predict_patches(inference: InferenceConfig, device: torch.device) -> Prediction:
    """Predict the object patches of a scan with the newest whole checkpoint of a run.

    Writes `object_patches.h5`: `patches` (G, C, N, N) complex64, `x_px` and `y_px` (G, C)
    float64, with the run, the checkpoint and R as attributes. The file appears whole or not.

    Raises:
        UserError: the run has no checkpoint.
        DataError: the data file is not what the contract promises, or of another size.
    """
    run = RunDirectory(inference.model_path)
    config = run.config()
    found, passed_over = newest_whole(run)
    if found is None:
        raise UserError(f"{run.path}: the run has no checkpoint yet")
    scan = read_scan(inference.test_data_file)
    if scan.N != config.model.N:
        raise DataError(
            f"{inference.test_data_file}: patterns of {scan.N} × {scan.N} pixels, the network "
            f"was trained on {config.model.N} × {config.model.N}"
        )
    groups_GC = build_groups(
        scan.x_px,
        scan.y_px,
        gridsize=config.model.gridsize,
        neighbor_count=inference.neighbor_count or config.data.neighbor_count,
        n_groups=inference.n_groups,
        seed=inference.subsample_seed,
    )
    dataset = GroupDataset(scan, groups_GC)
    network = build_model(config.model).to(device).eval()
    state = torch.load(found.state, map_location=device, weights_only=True)["state_dict"]
    prefix = "network."
    network.load_state_dict(
        {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
    )
    probe_PHW = probe_scale(dataset.probe_PHW, dataset.mean_total_counts).to(device)
    size, channels = scan.N, groups_GC.shape[1]
    try:
        inference.output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{inference.output_dir}: cannot be made: {error.strerror}") from None
    path = inference.output_dir / "object_patches.h5"
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    misfit = energy = 0.0
    try:
        with h5py.File(temporary, "x") as file, torch.inference_mode():
            patches = file.create_dataset(
                "patches", (len(dataset), channels, size, size), dtype=np.complex64
            )
            for start in range(0, len(dataset), inference.batch_size):
                stop = min(start + inference.batch_size, len(dataset))
                batch = dataset.collate(dataset.__getitems__(range(start, stop)))
                measured_amp = batch["amplitude_BCHW"].to(device)
                object_BCHW = network(dataset.normalisation * measured_amp)
                predicted_amp = diffraction_amplitude(object_BCHW, probe_PHW)
                misfit += float(((predicted_amp - measured_amp) ** 2).sum())
                energy += float((measured_amp**2).sum())
                patches[start:stop] = object_BCHW.cpu().numpy()
            file["x_px"] = scan.x_px[groups_GC]
            file["y_px"] = scan.y_px[groups_GC]
            file.attrs["run"] = run.run_id
            file.attrs["checkpoint"] = found.path.name
            file.attrs["data_consistency"] = misfit / energy
        descriptor = os.open(temporary, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_directory(path.parent)
    return Prediction(path, len(dataset) * channels, misfit / energy, tuple(passed_over))
