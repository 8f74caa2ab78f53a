"""The unrolled network: plain steps when untrained, alone with each pattern, whole for B = 0."""

from __future__ import annotations

import pytest
import torch

from ptycho_dist.config.model import ModelConfig
from ptycho_dist.models.registry import build_model
from ptycho_dist.models.scan_physics import ScanPhysics
from ptycho_dist.models.views import PatchNetwork, Views
from ptycho_dist.physics.forward import diffraction_amplitude, modulus_step

SIZE, PHOTONS = 32, 1e5


def network(stages: int = 3) -> PatchNetwork:
    torch.manual_seed(0)
    return build_model(
        ModelConfig(architecture="unrolled", stages=stages, n_filters_scale=0.125)
    ).eval()


def a_probe() -> torch.Tensor:
    """Two modes that die out before the edge, (2, N, N) complex64."""
    axis = torch.arange(SIZE) - SIZE // 2
    squared = axis[:, None] ** 2 + axis**2
    first = torch.exp(-squared / 50 + 0.02j * squared)
    return torch.stack([first, 0.3 * axis / 5 * first]).to(torch.complex64)


def objects(groups: int, members: int, seed: int = 0) -> torch.Tensor:
    """Smooth, amplitude and phase as strong as in a simulated scan."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(2, groups * members, 1, 8, 8, generator=generator)
    real, imaginary = (
        torch.nn.functional.interpolate(each, size=(SIZE, SIZE), mode="bicubic") for each in coarse
    )
    shape = (groups, members, SIZE, SIZE)
    return torch.polar(1 + 0.2 * real.tanh(), 1.5 * imaginary.tanh()).reshape(shape)


def views_of(object_BCHW: torch.Tensor, physics: ScanPhysics) -> Views:
    """Of noise-free patterns of these patches, each with a rest of its own."""
    generator = torch.Generator().manual_seed(1)
    rest = torch.rand(*object_BCHW.shape[:2], 2, generator=generator) - 0.5
    probe = physics.views(object_BCHW.real, rest).probe_BCPHW
    return physics.views(diffraction_amplitude(object_BCHW, probe).detach(), rest)


@pytest.fixture
def physics() -> ScanPhysics:
    return ScanPhysics(a_probe(), PHOTONS, trainable=True)


@pytest.mark.parametrize(("photons", "rounding"), [(1e5, 1e-2), (1e8, 3e-4)])
def test_the_truth_is_a_fixed_point_of_the_step(photons: float, rounding: float) -> None:
    """REC-013: of noise-free data; from elsewhere the step leads towards it.

    The 0.01 counts under its root matter the less, the brighter the patterns.
    """
    physics = ScanPhysics(a_probe(), photons, trainable=False)
    truth = objects(2, 3)
    views = views_of(truth, physics)
    at_truth = modulus_step(truth, views.probe_BCPHW, views.amplitude_BCHW)
    away = truth + 0.1 * objects(2, 3, seed=7)
    back = modulus_step(away, views.probe_BCPHW, views.amplitude_BCHW)
    assert at_truth.abs().max() < rounding
    assert back.abs().max() > 0.05
    exit_waves = [(each - truth).unsqueeze(2) * views.probe_BCPHW for each in (away, away + back)]
    assert exit_waves[1].abs().square().sum() < 0.7 * exit_waves[0].abs().square().sum()


def test_untrained_it_makes_plain_steps(physics: ScanPhysics) -> None:
    """REC-013: in each stage, from any object."""
    views = views_of(objects(2, 3), physics)
    model = network()
    start = objects(2, 3, seed=5)
    step = modulus_step(start, views.probe_BCPHW, views.amplitude_BCHW)
    for stage in range(model.stages):
        refined = model.refine(stage, start, views)
        assert refined.dtype == torch.complex64
        difference = (refined - (start + step)).abs()
        assert difference.mean() < 0.02 < 0.2 * step.abs().mean()
        assert difference.max() < 0.2


@pytest.mark.parametrize(("groups", "members"), [(0, 1), (0, 5), (2, 1), (1, 3)])
def test_every_parameter_has_a_gradient(physics: ScanPhysics, groups: int, members: int) -> None:
    """DATA-082, DATA-091: the probe's too; for no groups zeros, not None."""
    views = views_of(objects(max(groups, 1), members)[:groups], physics)
    model = network(stages=2)
    patches = torch.ones_like(views.probe_BCPHW[:, :, 0])
    for stage in range(model.stages):
        patches = model.refine(stage, patches, views)
    assert patches.shape == (groups, members, SIZE, SIZE)
    predicted = diffraction_amplitude(patches, views.probe_BCPHW)
    ((predicted - views.amplitude_BCHW) ** 2).sum().backward()
    parameters = [*model.named_parameters(), *physics.named_parameters()]
    assert len(parameters) > 2 * model.stages
    for name, parameter in parameters:
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert bool(parameter.grad.any()) == (groups > 0), name


def test_each_pattern_is_seen_alone(physics: ScanPhysics) -> None:
    """REC-014, DATA-092: whatever stands beside it in its group or in its batch."""
    truth, seen = objects(3, 4), objects(3, 4, seed=3)
    whole, model = views_of(truth, physics), network()
    with torch.no_grad():
        for stage in range(model.stages):
            together = model.refine(stage, seen, whole)
            for b, c in ((0, 0), (1, 3), (2, 1)):
                alone = Views(
                    whole.amplitude_BCHW[b : b + 1, c : c + 1],
                    whole.probe_BCPHW[b : b + 1, c : c + 1],
                    whole.rest_BC2[b : b + 1, c : c + 1],
                    whole.input_scale,
                )
                answer = model.refine(stage, seen[b : b + 1, c : c + 1], alone)
                torch.testing.assert_close(
                    answer[0, 0], together[b, c], rtol=1e-4, atol=1e-5, msg=f"{stage=} {b=} {c=}"
                )


def test_each_stage_has_a_correction_of_its_own(physics: ScanPhysics) -> None:
    """REC-010: and adds it to the step."""
    views, model = views_of(objects(1, 2), physics), network(stages=2)
    seen = objects(1, 2, seed=3)
    with torch.no_grad():
        before = [model.refine(stage, seen, views) for stage in range(2)]
        for parameter in list(model.corrections[1].parameters())[-2:]:  # type: ignore[index,union-attr]
            parameter.add_(0.1)
        after = [model.refine(stage, seen, views) for stage in range(2)]
    assert torch.equal(after[0], before[0])
    assert (after[1] - before[1]).abs().mean() > 0.05


def test_as_many_stages_as_the_config_says() -> None:
    """REC-010"""
    assert [network(stages).stages for stages in (1, 5)] == [1, 5]
    assert build_model(ModelConfig(architecture="cnn", n_filters_scale=0.01)).stages == 1


def test_a_mixed_precision_region_still_gives_complex64(physics: ScanPhysics) -> None:
    views = views_of(objects(1, 1), physics)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        refined = network().refine(0, objects(1, 1, seed=3), views)
    assert refined.dtype == torch.complex64
    assert torch.isfinite(torch.view_as_real(refined)).all()
