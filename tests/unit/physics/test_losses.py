"""The losses, per group (section 7 of the data contract)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import poisson

from ptycho_dist.physics.losses import amplitude_mae, poisson_nll


def counts_and_rates(mean: float, groups: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(7)
    rate = mean * generator.uniform(0.5, 1.5, (groups, 2, 8, 8))
    return generator.poisson(rate), rate


@pytest.mark.parametrize("mean", [0.3, 30.0, 3e4, 3e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_against_scipy(mean: float, dtype: torch.dtype) -> None:
    """DATA-084: the mean over C, H, W of -log Poisson; exact where float32 alone would not be."""
    counts, rate = counts_and_rates(mean)
    rate[0, 0] *= 1.2
    predicted, measured = (torch.from_numpy(np.sqrt(x)).to(dtype) for x in (rate, counts))
    expected = -poisson.logpmf(counts, rate).mean(axis=(1, 2, 3))
    # a float32 amplitude is its root to 2⁻²⁴: λ is off by up to λ·2⁻²³
    slack = 1e-5 + (2 * mean * 2.0**-23 if dtype == torch.float32 else 0)
    loss = poisson_nll(predicted, measured)
    assert loss.shape == (3,)
    assert loss.dtype == dtype
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5, atol=slack)


def test_poisson_is_least_at_the_truth() -> None:
    """DATA-084: for any count, and in the mean over many draws."""
    measured = torch.tensor([0.0, 1.0, 2.0, 50.0, 1e4], dtype=torch.float64).sqrt()
    measured = measured.reshape(5, 1, 1, 1)
    best = poisson_nll(measured, measured)
    for factor in (0.8, 0.99, 1.01, 1.2):
        worse = poisson_nll(factor * measured + (1e-2 if factor > 1 else 0), measured)
        assert (worse[1:] > best[1:]).all()
    assert poisson_nll(measured + 0.01, measured)[0] > best[0]
    draws = torch.from_numpy(np.random.default_rng(0).poisson(9.0, (1, 1, 200, 200))).double()
    losses = {
        amplitude: poisson_nll(torch.full_like(draws, amplitude), draws.sqrt()).item()
        for amplitude in (2.8, 2.95, 3.0, 3.05, 3.2)
    }
    assert min(losses, key=losses.__getitem__) == 3.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [0.0, 1e-30, 1e-12, 1e-6, 1e-4, 1e-3])
def test_gradients_stay_finite_as_the_prediction_goes_dark(dim: float, dtype: torch.dtype) -> None:
    """DATA-085: bounded by n/sqrt(1e-6), also where 1e5 counts were measured."""
    predicted = torch.full((1, 1, 8, 8), dim, dtype=dtype, requires_grad=True)
    measured = torch.full_like(predicted, 1e5**0.5)
    for loss in (poisson_nll, amplitude_mae):
        (gradient,) = torch.autograd.grad(64 * loss(predicted, measured).sum(), predicted)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() <= 1.01 * 1e5 / 1e-3


@pytest.mark.parametrize("loss", [poisson_nll, amplitude_mae])
def test_gradcheck(loss: object) -> None:
    counts, rate = counts_and_rates(4.0, groups=2)
    predicted = torch.from_numpy(np.sqrt(rate[..., :2, :2])).requires_grad_()
    measured = torch.from_numpy(np.sqrt(counts[..., :2, :2]))
    assert torch.autograd.gradcheck(loss, (predicted, measured))


def test_mae_by_hand() -> None:
    predicted = torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(2, 1, 1, 2)
    measured = torch.tensor([2.0, 0.0, 3.0, 2.0]).reshape(2, 1, 1, 2)
    assert amplitude_mae(predicted, measured).tolist() == [1.5, 2.0]


@pytest.mark.parametrize("loss", [poisson_nll, amplitude_mae])
def test_groups_do_not_mix_and_may_be_none(loss: object) -> None:
    """DATA-086: the loss of a group is the same in any batch, and B = 0 gives none."""
    counts, rate = counts_and_rates(20.0)
    predicted = torch.from_numpy(np.sqrt(rate)).requires_grad_()
    measured = torch.from_numpy(np.sqrt(counts))
    together = loss(predicted, measured)  # type: ignore[operator]
    alone = torch.cat([loss(predicted[i : i + 1], measured[i : i + 1]) for i in range(3)])  # type: ignore[operator]
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=0)
    none = loss(predicted[:0], measured[:0])  # type: ignore[operator]
    assert none.shape == (0,)
    (gradient,) = torch.autograd.grad(none.sum(), predicted)
    assert not gradient.any()


@pytest.mark.parametrize("loss", [poisson_nll, amplitude_mae])
def test_shapes_that_would_broadcast_are_refused(loss: object) -> None:
    with pytest.raises(ValueError, match="must agree"):
        loss(torch.ones(2, 1, 8, 8), torch.ones(2, 4, 8, 8))  # type: ignore[operator]
    with pytest.raises(ValueError, match="must agree"):
        loss(torch.ones(2, 8, 8), torch.ones(2, 8, 8))  # type: ignore[operator]
