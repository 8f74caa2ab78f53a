"""Training helps: an unseen, drawn object is reconstructed better than without it."""

import numpy as np
import pytest
import torch

from ptycho_dist.config.model import ModelConfig
from ptycho_dist.config.plain_data import decode_run_config
from ptycho_dist.config.world import world_of
from ptycho_dist.data.formats import ScanData
from ptycho_dist.data.grouping import build_blocks
from ptycho_dist.data.simulate import SimulationSpec, expected_counts, simulate
from ptycho_dist.data.store import GroupDataset
from ptycho_dist.models.registry import build_model
from ptycho_dist.models.scan_physics import ScanPhysics
from ptycho_dist.reconstruction.scores import scan_region, score_object
from ptycho_dist.reconstruction.stitch import Worker, stitch
from ptycho_dist.runtime.agreement import Agreement
from ptycho_dist.training.module import PtychoModule

SPEC = SimulationSpec(N=32, n_patterns=144, step_px=4, jitter_px=1, n_photons=1e6, seed=3)
STEPS = 80


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def drawn_object(rows, columns):
    """A letter H in the amplitude and rings in the phase, unlike the objects of the simulation."""
    y, x = np.mgrid[:rows, :columns]
    amplitude = np.ones((rows, columns))
    for left in (columns // 3, columns // 2 + 4):
        amplitude[rows // 4 : 3 * rows // 4, left : left + 6] = 0.5
    amplitude[rows // 2 - 3 : rows // 2 + 3, columns // 3 : columns // 2 + 8] = 0.5
    radius = np.hypot(y - rows / 2, x - columns / 2)
    return amplitude * np.exp(1j * np.cos(radius / 3))


def whole(scan):
    return GroupDataset(scan, np.arange(scan.n_patterns)[:, None], one_canvas=True)


def scores(network, scan, truth_YX):
    dataset = whole(scan)
    physics = ScanPhysics(dataset.probe_PHW, dataset.mean_total_counts, trainable=False)
    worker = Worker(0, 1, torch.device("cpu"), Agreement(1), 36)
    found = stitch(network.eval(), physics, dataset, worker)
    layout = dataset.layout
    left, top = layout.origin_px
    rows, columns = layout.shape_YX
    region = scan_region(scan.x_px, scan.y_px, layout.shape_YX, layout.origin_px)
    cut_YX = truth_YX[top : top + rows, left : left + columns]
    of_network = score_object(found.object_YX, cut_YX, region)
    flat = score_object(np.ones_like(found.object_YX), cut_YX, region)
    return of_network, flat, found.data_consistency


def test_a_drawn_object_that_training_never_saw():
    scan, truth = simulate(SPEC)
    blocks = build_blocks(scan.x_px, scan.y_px, block_size=12, n_groups=None, seed=0)
    dataset = GroupDataset(scan, blocks)
    config = decode_run_config(
        {
            "name": "a",
            "data": {"train_data_file": "x.npz", "block_size": 12},
            "training": {"nepochs": 5, "batch_size": 2, "nll_weight": 0.0, "mae_weight": 1.0},
            "execution": {"learning_rate": 4e-3, "scheduler": "WarmupCosine"},
        },
        "test",
    )
    model = ModelConfig(architecture="unrolled", stages=5, n_filters_scale=1)
    torch.manual_seed(0)
    network = build_model(model)
    object_YX = drawn_object(*truth.object_YX.shape)
    counts_MHW = expected_counts(object_YX, truth.probe_PHW, scan.x_px, scan.y_px)
    noisy_MHW = np.random.default_rng(0).poisson(counts_MHW)
    amp_MHW = np.sqrt(noisy_MHW).astype(np.float32)
    drawn = ScanData(amp_MHW, truth.probe_PHW, scan.x_px, scan.y_px, "counts")
    untrained, flat, untrained_r = scores(network, drawn, object_YX)
    assert flat.ssim_phase < 0.4

    physics = ScanPhysics(dataset.probe_PHW, dataset.mean_total_counts, trainable=False)
    module = PtychoModule(
        network, physics, dataset.canvas_shape_YX, config, world_of(config, len(dataset))
    )
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=4e-3)
    order = np.random.default_rng(0)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * (1 - step / STEPS)
        batch = dataset.collate(dataset.__getitems__(order.integers(len(dataset), size=2)))
        optimizer.zero_grad()
        module.losses(batch).mean().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    trained, _, trained_r = scores(network, drawn, object_YX)
    assert trained_r < 0.5 * untrained_r
    assert trained.ssim_amplitude > untrained.ssim_amplitude + 0.1
    assert trained.ssim_phase > untrained.ssim_phase + 0.1
    assert trained.ssim_phase > flat.ssim_phase + 0.4
