"""The training step: one canvas for each group, weights of the losses, the learned probe."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from ptycho_dist.config.model import ModelConfig
from ptycho_dist.config.plain_data import decode_run_config
from ptycho_dist.config.world import world_of
from ptycho_dist.data.grouping import build_blocks
from ptycho_dist.data.simulate import SimulationSpec, expected_counts, simulate
from ptycho_dist.data.store import GroupDataset
from ptycho_dist.models.registry import build_model
from ptycho_dist.models.scan_physics import ScanPhysics
from ptycho_dist.models.views import PatchNetwork
from ptycho_dist.physics.forward import diffraction_amplitude
from ptycho_dist.physics.losses import poisson_nll
from ptycho_dist.physics.patches import moved_probe
from ptycho_dist.reconstruction.stitch import Worker, stitch
from ptycho_dist.runtime.agreement import Agreement
from ptycho_dist.training.module import PtychoModule

PATTERNS = 100


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def scan_and_truth():
    spec = SimulationSpec(N=32, n_patterns=PATTERNS, step_px=4, jitter_px=1, n_photons=1e5, seed=1)
    return simulate(spec)


def dataset_of(scan, block_size=5, n_groups=None):
    blocks = build_blocks(scan.x_px, scan.y_px, block_size=block_size, n_groups=n_groups, seed=0)
    return GroupDataset(scan, blocks)


def module_of(dataset, network=None, *, trainable=False, execution=None, **training):
    config = decode_run_config(
        {
            "name": "a",
            "data": {"train_data_file": "x.npz"},
            "training": {"nepochs": 4, "batch_size": 1, "probe_trainable": trainable, **training},
            "execution": {"learning_rate": 2e-3, "accum_steps": 5, **(execution or {})},
        },
        "test",
    )
    torch.manual_seed(0)
    if network is None:
        network = build_model(ModelConfig(architecture="unrolled", stages=3, n_filters_scale=0.125))
    physics = ScanPhysics(dataset.probe_PHW, dataset.mean_total_counts, trainable)
    world = world_of(config, len(dataset))
    return PtychoModule(network, physics, dataset.canvas_shape_YX, config, world)


def batch_of(dataset, *indices):
    return dataset.collate(dataset.__getitems__(indices))


class Constant(PatchNetwork):
    """Returns in stage k for member c of each group factor·(c + 1), or its input plus k."""

    def __init__(self, stages=1):
        super().__init__()
        self.stages = stages
        self.factor = torch.nn.Parameter(torch.tensor(0.5))
        self.seen = []

    def refine(self, stage, object_BCHW, views):
        self.seen.append(object_BCHW.detach())
        members = torch.arange(1, object_BCHW.shape[1] + 1)[None, :, None, None]
        return self.factor * members * torch.ones_like(object_BCHW) + stage


def test_the_patches_of_a_group_agree_on_its_own_canvas(scan_and_truth):
    """REC-010, REC-011: what the second stage sees, and what the loss predicts from."""
    dataset = dataset_of(scan_and_truth[0])
    module = module_of(dataset, Constant(stages=2))
    batch = batch_of(dataset, 7, 42)
    views = module.physics.views(batch["amplitude_BCHW"], batch["rest_BC2"])
    object_BCHW = module(views, batch["corner_BC2"])
    first, second = module.network.seen
    assert (first == 1).all()
    for b in range(2):
        shape = dataset.canvas_shape_YX
        sums, weights = np.zeros(shape), np.zeros(shape)
        for c, (x, y) in enumerate(batch["corner_BC2"][b].tolist()):
            lit = (views.probe_BCPHW[b, c].abs() ** 2).sum(dim=0).numpy()
            here = (slice(y, y + 32), slice(x, x + 32))
            sums[here] += 0.5 * (c + 1) * (lit / lit.max() + 1e-4)
            weights[here] += lit / lit.max() + 1e-4
        for c, (x, y) in enumerate(batch["corner_BC2"][b].tolist()):
            here = (slice(y, y + 32), slice(x, x + 32))
            mean = sums[here] / weights[here]
            np.testing.assert_allclose(second[b, c].numpy(), mean, rtol=1e-5)
            np.testing.assert_allclose(object_BCHW[b, c].detach().numpy(), mean + 1, rtol=1e-5)


def test_the_loss_compares_each_pattern_with_its_prediction_through_its_own_probe(
    scan_and_truth,
):
    """REC-011: the mean over the patterns of a group, the probe moved by each rest."""
    scan, _ = scan_and_truth
    dataset = dataset_of(scan)
    module = module_of(dataset)
    batch = batch_of(dataset, 3, 50, 98)
    views = module.physics.views(batch["amplitude_BCHW"], batch["rest_BC2"])
    object_BCHW = module(views, batch["corner_BC2"]).detach()
    energy = (np.abs(scan.probe_PHW) ** 2).sum()
    probe = torch.from_numpy(scan.probe_PHW * np.sqrt(dataset.mean_total_counts / energy))
    probe = moved_probe(probe.to(torch.complex64), batch["rest_BC2"])
    predicted = diffraction_amplitude(object_BCHW, probe)
    expected = poisson_nll(predicted, batch["amplitude_BCHW"])
    losses = module.losses(batch).detach()
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-4)
    # DATA-086: a group's loss is the same alone
    for b, group in enumerate((3, 50, 98)):
        alone = module.losses(batch_of(dataset, group)).detach()
        torch.testing.assert_close(alone[0], losses[b], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("brightness", [1, 100])
def test_the_absolute_error_is_relative_to_the_brightness(scan_and_truth, brightness):
    """REC-016: weight·mean |Â - A| / rms A; a hundred times the photons change nothing."""
    scan, truth = scan_and_truth
    counts = expected_counts(truth.object_YX, truth.probe_PHW, scan.x_px, scan.y_px)
    scan = dataclasses.replace(
        scan, diffraction_amp_MHW=np.sqrt(brightness * counts).astype(np.float32)
    )
    dataset = dataset_of(scan, block_size=1)
    network = Constant()
    module = module_of(dataset, network, nll_weight=0.0, mae_weight=0.25)
    losses = module.losses(batch_of(dataset, 1, 20)).detach().numpy()
    # an object of 1/2 everywhere predicts half of what the flat object does
    energy = (np.abs(scan.probe_PHW) ** 2).sum()
    probe = scan.probe_PHW * np.sqrt(dataset.mean_total_counts / energy)
    flat = np.ones_like(truth.object_YX)
    chosen = [1, 20]
    predicted = np.sqrt(expected_counts(flat, probe, scan.x_px[chosen], scan.y_px[chosen])) / 2
    measured = scan.diffraction_amp_MHW.astype(float)
    rms = np.sqrt((measured**2).mean())
    expected = 0.25 * np.abs(predicted - measured[chosen]).mean(axis=(1, 2)) / rms
    np.testing.assert_allclose(losses, expected, rtol=1e-3)
    assert 0.01 < losses.mean() < 0.5


@pytest.mark.parametrize("architecture", ["cnn", "unrolled"])
@pytest.mark.parametrize("groups", [0, 2])
def test_every_parameter_has_a_gradient(scan_and_truth, architecture, groups):
    """DATA-091, REC-003: through canvas, network and learned probe; for no groups zeros."""
    dataset = dataset_of(scan_and_truth[0])
    torch.manual_seed(0)
    config = ModelConfig(
        architecture=architecture,
        n_filters_scale=0.125,
        stages=2 if architecture == "unrolled" else 6,
    )
    module = module_of(dataset, build_model(config), trainable=True, mae_weight=0.5)
    losses = module.losses(batch_of(dataset, *range(groups)))
    assert losses.shape == (groups,)
    losses.sum().backward()
    names = [name for name, _ in module.named_parameters()]
    assert "physics.probe_parts" in names
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert bool(parameter.grad.any()) == (groups > 0), name


def optimizer_and_schedule(module):
    made = module.configure_optimizers()
    if not isinstance(made, dict):
        return made, None
    return made["optimizer"], made["lr_scheduler"]["scheduler"]


def test_warm_up_and_cosine_over_the_steps_of_the_run(scan_and_truth):
    """Up over 5 % of 100 × 4 / 5 = 80 steps, then down to nothing; the probe's step likewise."""
    dataset = dataset_of(scan_and_truth[0])
    module = module_of(
        dataset,
        trainable=True,
        probe_learning_rate=0.02,
        execution={"scheduler": "WarmupCosine", "learning_rate": 1e-3},
    )
    optimizer, schedule = optimizer_and_schedule(module)
    rates = []
    for _ in range(80):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    network, probe = np.array(rates).T
    np.testing.assert_allclose(network[:4], [0.25e-3, 0.5e-3, 0.75e-3, 1e-3])
    assert (np.diff(network[4:]) < 0).all()
    assert network[42] == pytest.approx(0.5e-3, rel=1e-6)
    assert 0 < network[-1] < 2e-6
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(probe, 20 * network)


def wrong_probe(scan):
    """Return a probe with the phase of another focus."""
    probe = np.abs(scan.probe_PHW) * np.exp(0.6j * np.angle(scan.probe_PHW))
    return dataclasses.replace(scan, probe_PHW=probe.astype(np.complex64))


def likeness(one, other):
    return abs(np.vdot(one, other)) / np.linalg.norm(one) / np.linalg.norm(other)


def test_learning_the_probe_lowers_r_where_it_was_wrong(scan_and_truth):
    """REC-015: better than a network trained with the wrong probe; its energy is kept."""
    scan, _ = scan_and_truth
    wrong = wrong_probe(scan)
    dataset = dataset_of(wrong, block_size=9)
    whole = GroupDataset(wrong, np.arange(PATTERNS)[:, None], one_canvas=True)
    worker = Worker(0, 1, torch.device("cpu"), Agreement(1), 50)
    found = {}
    for trainable in (False, True):
        module = module_of(
            dataset, trainable=trainable, nll_weight=0.0, mae_weight=1.0, probe_learning_rate=1e-2
        )
        optimizer, _ = optimizer_and_schedule(module)
        generator = torch.Generator().manual_seed(0)
        for _ in range(2):
            for rows in torch.randperm(PATTERNS, generator=generator).split(12):
                optimizer.zero_grad()
                module.losses(batch_of(dataset, *rows.tolist())).mean().backward()
                optimizer.step()
        probe = module.physics.probe_PHW.detach()
        energy = float((probe.abs() ** 2).sum())
        assert energy == pytest.approx(dataset.mean_total_counts, rel=1e-5)
        physics = ScanPhysics(probe, whole.mean_total_counts, trainable=False)
        done = stitch(module.network.eval(), physics, whole, worker)
        found[trainable] = done.data_consistency, likeness(probe.numpy(), scan.probe_PHW)
    assert found[False][1] == pytest.approx(likeness(wrong.probe_PHW, scan.probe_PHW), rel=1e-5)
    assert found[True][0] < 0.7 * found[False][0]
    assert found[True][1] > found[False][1] + 0.05, "the learned probe is no nearer to the truth"


def test_a_probe_that_is_not_learned_is_no_parameter(scan_and_truth):
    """REC-015"""
    module = module_of(dataset_of(scan_and_truth[0]))
    assert not list(module.physics.parameters())
    assert len(optimizer_and_schedule(module)[0].param_groups) == 1
    assert {"physics.probe_parts", "physics.input_scale"} <= set(module.state_dict())
