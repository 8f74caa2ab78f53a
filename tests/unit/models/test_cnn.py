"""The network: its interface, its behaviour on empty batches, and that it learns."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest
import torch
from torch.nn import functional

from ptycho_dist.config.model import ModelConfig
from ptycho_dist.data.grouping import build_groups
from ptycho_dist.data.simulate import SimulationSpec, simulate
from ptycho_dist.data.store import GroupDataset
from ptycho_dist.models import registry
from ptycho_dist.models.cnn import PtychoCNN, UpConv2d
from ptycho_dist.models.registry import build_model
from ptycho_dist.models.scan_physics import ScanPhysics
from ptycho_dist.models.views import Views
from ptycho_dist.physics.forward import diffraction_amplitude
from ptycho_dist.physics.losses import poisson_nll
from ptycho_dist.physics.patches import moved_patches


def small_model(gridsize: int = 1, N: int = 64, scale: float = 0.125) -> PtychoCNN:
    torch.manual_seed(0)
    model = build_model(ModelConfig(N=N, gridsize=gridsize, n_filters_scale=scale))  # type: ignore[arg-type]
    assert isinstance(model, PtychoCNN)
    return model


@pytest.mark.parametrize(("N", "gridsize", "scale"), [(64, 1, 0.125), (64, 2, 0.1), (128, 1, 0.01)])
def test_amplitudes_in_and_complex_patches_out(N: int, gridsize: int, scale: float) -> None:
    """DATA-090: and an untrained network answers about 1."""
    amplitude = torch.rand(2, gridsize**2, N, N)
    patches = small_model(gridsize, N, scale)(amplitude)
    assert patches.shape == amplitude.shape
    assert patches.dtype == torch.complex64
    assert (patches - 1).abs().max() < 0.3


@pytest.mark.parametrize("gridsize", [1, 2])
@pytest.mark.parametrize("heads", [{}, {"probe_big": False}, {"pad_object": False}])
@pytest.mark.parametrize("groups", [0, 2])
def test_every_parameter_has_a_gradient(gridsize: int, heads: dict[str, bool], groups: int) -> None:
    """DATA-091, DATA-093: DDP waits for each; for no groups they are zeros, not None."""
    model = build_model(ModelConfig(gridsize=gridsize, n_filters_scale=0.125, **heads))
    amplitude = torch.rand(groups, gridsize**2, 64, 64)
    probe = torch.ones(1, 64, 64, dtype=torch.complex64)
    poisson_nll(diffraction_amplitude(model(amplitude), probe), amplitude).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert bool(parameter.grad.any()) == (groups > 0), name


def test_groups_do_not_mix() -> None:
    """DATA-092: no normalisation over the batch, so a group's answer does not depend on others."""
    model, amplitude = small_model(), torch.rand(3, 1, 64, 64)
    torch.testing.assert_close(model(amplitude)[1:2], model(amplitude[1:2]), rtol=1e-5, atol=1e-6)
    assert not list(model.buffers())


def test_centre_and_border_come_from_branches_of_their_own() -> None:
    """DATA-093: the border branch does not touch the central N/2 × N/2 pixels, nor the reverse."""
    model, amplitude = small_model(), torch.rand(1, 1, 64, 64)
    before = model(amplitude).detach()
    for branch, changes_centre in (("border", False), ("centre", True)):
        with torch.no_grad():
            getattr(model.amplitude, branch).bias += 1
        changed = (model(amplitude).detach() - before).abs()[0, 0] > 1e-3
        inside = torch.zeros(64, 64, dtype=torch.bool)
        inside[16:48, 16:48] = True
        assert torch.equal(changed, inside if changes_centre else ~inside)
        with torch.no_grad():
            getattr(model.amplitude, branch).bias -= 1


@pytest.mark.parametrize("size", [5, 8])
def test_the_folded_doubling_is_exact(size: int) -> None:
    """Forward and backward, against doubling and convolving one after the other."""
    torch.manual_seed(1)
    layer = UpConv2d(3, 4).double()
    feature = torch.randn(2, 3, size, size, dtype=torch.float64, requires_grad=True)
    plain = functional.conv2d(
        functional.interpolate(feature, scale_factor=2, mode="nearest"),
        layer.weight,
        layer.bias,
        padding=1,
    )
    folded = layer(feature)
    torch.testing.assert_close(folded, plain)
    towards = torch.randn_like(plain)
    for tensor in (feature, layer.weight, layer.bias):
        one, other = (
            torch.autograd.grad((out * towards).sum(), tensor, retain_graph=True)[0]
            for out in (folded, plain)
        )
        torch.testing.assert_close(one, other)


def test_a_mixed_precision_region_still_gives_complex64() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert small_model()(torch.rand(1, 1, 64, 64)).dtype == torch.complex64


def test_patterns_that_cannot_be_halved_three_times_are_refused() -> None:
    for shape in ((1, 1, 60, 60), (1, 1, 64, 32)):
        with pytest.raises(ValueError, match="divisible by 8"):
            small_model()(torch.rand(shape))


def views_of(amplitude_BCHW: torch.Tensor, rest_BC2: torch.Tensor, scale: float) -> Views:
    probe = torch.ones(*amplitude_BCHW.shape[:2], 1, 64, 64, dtype=torch.complex64)
    return Views(amplitude_BCHW, probe, rest_BC2, torch.tensor(scale))


@pytest.mark.parametrize(("gridsize", "members"), [(1, 1), (2, 4), (1, 5)])
def test_a_stage_draws_around_the_position_and_puts_on_whole_pixels(
    gridsize: int, members: int
) -> None:
    """REC-004: from s·A alone; with gridsize 1 the members of a block are taken one by one."""
    torch.manual_seed(1)
    model, amplitude = small_model(gridsize), torch.rand(2, members, 64, 64)
    rest = torch.rand(2, members, 2) - 0.5
    refined = model.refine(
        0, torch.randn(2, members, 64, 64, dtype=torch.complex64), views_of(amplitude, rest, 3.0)
    )
    drawn = model(3.0 * amplitude.reshape(-1, gridsize**2, 64, 64)).reshape(amplitude.shape)
    torch.testing.assert_close(refined, moved_patches(drawn, rest))
    assert (refined - drawn).abs().max() > 1e-4, "the rest of the positions is not looked at"


def test_a_stage_without_groups() -> None:
    """DATA-091"""
    model = small_model()
    refined = model.refine(
        0,
        torch.ones(0, 5, 64, 64, dtype=torch.complex64),
        views_of(torch.ones(0, 5, 64, 64), torch.zeros(0, 5, 2), 1.0),
    )
    assert refined.shape == (0, 5, 64, 64)
    refined.abs().sum().backward()
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_every_name_of_the_config_has_a_constructor() -> None:
    """DATA-094: and no other."""
    names = get_args(get_args(get_type_hints(ModelConfig, include_extras=True)["architecture"])[0])
    assert set(names) == set(registry._CONSTRUCTORS)


def test_it_learns() -> None:
    """DATA-095: on a simulated scan the loss falls clearly below any pattern-blind guess.

    The guess is the best fixed object, the same for every pattern, found by descent.
    """
    scan, _ = simulate(SimulationSpec(n_patterns=64, n_photons=1e4, seed=1))
    groups_GC = build_groups(
        scan.x_px, scan.y_px, gridsize=1, neighbor_count=1, n_groups=None, seed=0
    )
    dataset = GroupDataset(scan, groups_GC)
    batch = dataset.collate(dataset.__getitems__(range(64)))
    measured = batch["amplitude_BCHW"]
    physics = ScanPhysics(dataset.probe_PHW, dataset.mean_total_counts, trainable=False)
    probe, scale = physics.probe_PHW, physics.input_scale

    def loss_of(patches: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return poisson_nll(diffraction_amplitude(patches, probe), measured[rows]).mean()

    everything = torch.arange(64)
    fixed = torch.full((1, 1, 64, 64), 1.0, dtype=torch.complex64, requires_grad=True)
    descent = torch.optim.Adam([fixed], lr=0.05)
    for _ in range(40):
        descent.zero_grad()
        blind = loss_of(fixed.expand(64, -1, -1, -1), everything)
        blind.backward()
        descent.step()

    model = small_model(scale=0.25)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        for rows in torch.randperm(64, generator=generator).split(16):
            optimizer.zero_grad()
            loss_of(model(scale * measured[rows]), rows).backward()
            optimizer.step()
    with torch.no_grad():
        patches = model(scale * measured)
        learnt = loss_of(patches, everything)
        perfect = poisson_nll(measured, measured).mean()
    print(f"{blind=} {learnt=} {perfect=}")
    assert learnt - perfect < 0.8 * (blind.detach() - perfect)
    across_patterns = patches[:, 0, 16:48, 16:48].abs().std(dim=0).mean()
    assert across_patterns > 0.02, "the same amplitude for every pattern"
