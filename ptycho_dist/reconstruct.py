"""Applying a trained network: object patches for every group of a scan."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import nn

from ptycho_dist.checkpoint.catalog import Checkpoint, checkpoint_name, newest_whole
from ptycho_dist.checkpoint.state import read_state
from ptycho_dist.config.inference import InferenceConfig
from ptycho_dist.config.model import ModelConfig
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

    What `inference` leaves open of the choice of groups (neighbor_count, subsample_seed) is that of
    the run's config.

    Writes `object_patches.h5`: `patches` (G, C, N, N) complex64, `x_px` and `y_px` (G, C)
    float64, with the run, the checkpoint and R as attributes. The file appears whole or not.

    Raises:
        UserError: the run has no whole checkpoint, or the output folder cannot be written.
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
        neighbor_count=_or_of_run(inference.neighbor_count, config.data.neighbor_count),
        n_groups=inference.n_groups,
        seed=_or_of_run(inference.subsample_seed, config.data.subsample_seed),
    )
    dataset = GroupDataset(scan, groups_GC)
    network = _network_of(config.model, found, device)
    path = inference.output_dir / "object_patches.h5"
    try:
        inference.output_dir.mkdir(parents=True, exist_ok=True)
        with _appears_whole(path) as temporary, _new_h5_file(temporary) as file:
            consistency = _write_patches(file, network, dataset, inference.batch_size, device)
            file["x_px"] = scan.x_px[groups_GC]
            file["y_px"] = scan.y_px[groups_GC]
            file.attrs["run"] = run.run_id
            file.attrs["checkpoint"] = checkpoint_name(found.step)
            file.attrs["data_consistency"] = consistency
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else " ".join(str(error).split())
        raise UserError(f"{path}: cannot be written: {reason}") from None
    return Prediction(path, groups_GC.size, consistency, tuple(passed_over))


def _or_of_run(given: int | None, of_run: int) -> int:
    return of_run if given is None else given


def _network_of(model: ModelConfig, checkpoint: Checkpoint, device: torch.device) -> nn.Module:
    network = build_model(model).to(device).eval()
    prefix = "network."
    try:
        tensors = read_state(checkpoint, device)["state_dict"]
        network.load_state_dict(
            {name.removeprefix(prefix): v for name, v in tensors.items() if name.startswith(prefix)}
        )
    except (KeyError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{checkpoint.path}: does not fit the network of run.json: {reason}"
        ) from None
    return network


def _write_patches(
    file: h5py.File,
    network: nn.Module,
    dataset: GroupDataset,
    batch_size: int,
    device: torch.device,
) -> float:
    """Predict all groups into the dataset `patches`; returns R."""
    probe_PHW = probe_scale(dataset.probe_PHW, dataset.mean_total_counts).to(device)
    misfit = energy = 0.0
    patches: h5py.Dataset | None = None
    for start in range(0, len(dataset), batch_size):
        stop = min(start + batch_size, len(dataset))
        with torch.inference_mode():
            batch = dataset.collate(dataset.__getitems__(range(start, stop)))
            measured_amp = batch["amplitude_BCHW"].to(device)
            object_BCHW = network(dataset.normalisation * measured_amp)
            predicted_amp = diffraction_amplitude(object_BCHW, probe_PHW)
            misfit += float(((predicted_amp - measured_amp) ** 2).sum())
            energy += float((measured_amp**2).sum())
        if patches is None:
            shape = (len(dataset), *object_BCHW.shape[1:])
            patches = file.create_dataset("patches", shape, dtype=np.complex64)
        patches[start:stop] = object_BCHW.cpu().numpy()
    return misfit / energy


@contextlib.contextmanager
def _new_h5_file(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file; a full disk at its close is an OSError (h5py says RuntimeError)."""
    file = h5py.File(path, "x")
    try:
        yield file
    except BaseException:
        with contextlib.suppress(RuntimeError):  # the first error tells
            file.close()
        raise
    try:
        file.close()
    except RuntimeError as error:
        raise OSError(str(error)) from None


@contextlib.contextmanager
def _appears_whole(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`; what was written there is fsynced and takes its place."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_directory(path.parent)
