"""Fields of the model and the training that are off by default, together on two ranks."""

import dataclasses
import json

import h5py
import numpy as np
import pytest

from ptycho_dist.data.canvas import canvas_layout
from ptycho_dist.data.formats import write_scan
from ptycho_dist.data.simulate import SimulationSpec, labels_of, simulate
from ptycho_dist.rundir.layout import RunDirectory

TEXT = """
reconstruct: true
model:
  n_filters_scale: 0.125
  model_type: supervised
  amp_activation: swish
  object_big: false
  probe_mask: true
  pad_object: false
  gaussian_smoothing_sigma: 0.5
training:
  {nepochs: 2, batch_size: 4, realspace_weight: 1.0, realspace_mae_weight: 0.5, mae_weight: 0.5,
   nll_weight: 0.0, intensity_scale_trainable: true, probe_trainable: true}
execution: {middle_trim: 32, inference_batch_size: 8}
resources: {tasks_per_node: 2}
"""


@pytest.mark.effect(
    "data.n_subsample", "execution.middle_trim", "training.intensity_scale_trainable"
)
def test_every_parameter_takes_part_on_two_ranks(make_config, launch, tmp_path):
    """DATA-091, DATA-097, REC-025: DDP waits for each parameter, the last batch is ragged (one
    sample for two ranks), and the object is that of all patterns, from their middles."""
    scan, truth = simulate(SimulationSpec(n_patterns=37, n_photons=1e5))
    path = tmp_path / "labelled.npz"
    write_scan(path, dataclasses.replace(scan, label_MHW=labels_of(truth, scan)), {})
    config = make_config(TEXT)
    text = config.read_text().split("\n")
    text[1] = f"data: {{train_data_file: {path}, n_subsample: 17}}"
    config.write_text("\n".join(text))
    root = tmp_path / "runs"
    done = launch("submit", config, "--cluster", "local", "--wait", "--runs-dir", root)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = root.iterdir()
    run = RunDirectory(folder)
    result = json.loads(run.result_json.read_text())
    assert result["last_epoch"]["samples"] == 17
    assert np.isfinite(result["reconstruction"]["data_consistency"])
    with h5py.File(run.object_file) as file:
        weight, probe, x_px, y_px = (file[k][:] for k in ("weight", "probe", "x_px", "y_px"))
    assert x_px.size == 37
    covered = np.zeros(weight.shape, bool)
    for x, y in canvas_layout(x_px, y_px, 64).corner_M2:
        covered[y + 16 : y + 48, x + 16 : x + 48] = True
    np.testing.assert_array_equal(weight > 0, covered)
    energy = (np.abs(probe) ** 2).sum()
    counts = (scan.diffraction_amp_MHW.astype(float) ** 2).sum(axis=(1, 2)).mean()
    assert 1e-5 < abs(energy / counts - 1) < 0.1, "the learned brightness"
