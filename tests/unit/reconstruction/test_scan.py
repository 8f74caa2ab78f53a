"""A scan file through a network: what of the run goes with it."""

import dataclasses

import h5py
import numpy as np
import pytest
import torch

from ptycho_dist.config.data import DataConfig
from ptycho_dist.config.model import ModelConfig
from ptycho_dist.data.formats import read_scan, write_scan
from ptycho_dist.models.registry import build_model
from ptycho_dist.reconstruction.scan import ScanTask, reconstruct_scan

PLAIN = ModelConfig(architecture="unrolled", stages=2, n_filters_scale=0.125)


@pytest.fixture
def reconstruct(example, tmp_path):
    """`reconstruct(file, …)`: object, probe and R by an untrained network."""

    def run(path, model=PLAIN, **task):
        torch.manual_seed(0)
        asked = ScanTask(
            data_file=path,
            data=DataConfig(train_data_file=path),
            model=model,
            run="r",
            checkpoint="c",
            folder=tmp_path / "out",
            **task,
        )
        done = reconstruct_scan(build_model(model).eval(), None, asked, example.worker())
        with h5py.File(done.object_file) as file:
            return file["object"][:], file["probe"][:], file.attrs["data_consistency"]

    return run


@pytest.fixture
def faint(scan_file, tmp_path):
    """The scan with amplitudes in an arbitrary unit: a mean pattern of 0.01."""
    scan = read_scan(scan_file)
    amp_MHW = scan.diffraction_amp_MHW
    mean_total = np.mean((amp_MHW.astype(float) ** 2).sum(axis=(1, 2)))
    path = tmp_path / "faint.npz"
    amp_MHW = amp_MHW * np.float32(np.sqrt(0.01 / mean_total))
    write_scan(path, dataclasses.replace(scan, diffraction_amp_MHW=amp_MHW, unit="unverified"), {})
    return path, mean_total


def test_amplitudes_are_scaled_to_nphotons_as_in_training(reconstruct, scan_file, faint):
    """DATA-098: the plain steps go wrong on 0.01 counts; those that are counts stay as they are."""
    path, mean_total = faint
    right, probe, consistency = reconstruct(scan_file)
    scaled, its_probe, its_consistency = reconstruct(path, nphotons=float(mean_total))
    np.testing.assert_allclose(scaled, right, atol=1e-3)
    np.testing.assert_allclose(its_probe, probe, rtol=1e-4, atol=1e-3)
    assert its_consistency == pytest.approx(consistency, rel=1e-2)
    unscaled, _, worse = reconstruct(path)
    assert worse > 5 * consistency
    assert np.abs(unscaled - right).max() > 0.1
    _, kept, _ = reconstruct(scan_file, nphotons=5.0)
    np.testing.assert_array_equal(kept, probe)


def test_mask_smoothing_and_brightness_of_the_run_are_those_of_the_reconstruction(
    reconstruct, scan_file
):
    """DATA-087, DATA-088, DATA-097: one physics for the training and for R."""
    cnn = ModelConfig(n_filters_scale=0.125)
    _, probe, consistency = reconstruct(scan_file, cnn)
    _, masked, _ = reconstruct(scan_file, dataclasses.replace(cnn, probe_mask=True))
    axis = np.arange(64) - 32
    outside = axis[:, None] ** 2 + axis**2 > 16**2
    assert probe[:, outside].any()
    assert not masked[:, outside].any()
    smooth = dataclasses.replace(cnn, gaussian_smoothing_sigma=1.0)
    assert reconstruct(scan_file, smooth)[2] != pytest.approx(consistency, rel=1e-2)
    _, brighter, other = reconstruct(scan_file, cnn, intensity_scale=1.5)
    np.testing.assert_allclose(brighter, 1.5 * probe, rtol=1e-5)
    assert other != pytest.approx(consistency, rel=1e-2)
