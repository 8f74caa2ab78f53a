"""Losses: how far a predicted amplitude is from a measured one, per group.

There is one value per group, not per batch, because ranks share a ragged batch unequally and weight
by count.
"""

from __future__ import annotations

import torch

_EPS_COUNTS = 1e-6


def poisson_nll(predicted_amp: torch.Tensor, measured_amp: torch.Tensor) -> torch.Tensor:
    """Compute the mean over C·H·W of -log Poisson(n | λ) with n = A², λ = Â² + 1e-6 counts.

        -log Poisson(n | λ) = λ - n·log λ + log Γ(n + 1)

    This is the likelihood of photon counting (Thibault & Guizar-Sicairos, New J. Phys. 14, 063004
    (2012)). It is computed in float64, because the terms cancel to a few units out of n·log n. The
    constant under the logarithm bounds the gradient in Â by n/sqrt(1e-6) and makes it zero at
    Â = 0.

    Args:
        predicted_amp: Â, (B, C, H, W), sqrt(counts); B may be 0.
        measured_amp: A, same shape, sqrt(counts); A² need not be whole.

    Returns:
        (B,) in the dtype of the prediction.

    Raises:
        ValueError: The shapes differ.
    """
    _require_same_shape(predicted_amp, measured_amp)
    # Apple's GPU has no float64
    exact = torch.float32 if predicted_amp.device.type == "mps" else torch.float64
    rate = predicted_amp.to(exact) ** 2 + _EPS_COUNTS
    counts = measured_amp.to(exact) ** 2
    nll_BCHW = rate - counts * torch.log(rate) + torch.lgamma(counts + 1)
    return nll_BCHW.mean(dim=(1, 2, 3)).to(predicted_amp.dtype)


def amplitude_mae(predicted_amp: torch.Tensor, measured_amp: torch.Tensor) -> torch.Tensor:
    """Compute the mean over C·H·W of |Â - A|.

    Args:
        predicted_amp: Â, (B, C, H, W), sqrt(counts); B may be 0.
        measured_amp: A, same shape, sqrt(counts).

    Returns:
        (B,), sqrt(counts).

    Raises:
        ValueError: The shapes differ.
    """
    _require_same_shape(predicted_amp, measured_amp)
    return (predicted_amp - measured_amp).abs().mean(dim=(1, 2, 3))


def realspace_errors(
    object_BCHW: torch.Tensor, label_BCHW: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the means over C·H·W of |O - L|² and of |O - L|.

    The root is taken of |O - L|² + 1e-12, so that its gradient is finite everywhere.

    Args:
        object_BCHW: O, complex; B may be 0.
        label_BCHW: L, complex, the same patches on the same pixels.

    Returns:
        Two tensors (B,).

    Raises:
        ValueError: The shapes differ.
    """
    _require_same_shape(object_BCHW, label_BCHW)
    difference = object_BCHW - label_BCHW
    squared_BCHW = difference.real**2 + difference.imag**2
    absolute_BCHW = torch.sqrt(squared_BCHW + 1e-12)
    return squared_BCHW.mean(dim=(1, 2, 3)), absolute_BCHW.mean(dim=(1, 2, 3))


def _require_same_shape(predicted_amp: torch.Tensor, measured_amp: torch.Tensor) -> None:
    if predicted_amp.shape != measured_amp.shape or predicted_amp.dim() != 4:
        raise ValueError(
            f"predicted {tuple(predicted_amp.shape)} and measured {tuple(measured_amp.shape)} "
            "must agree in (B, C, H, W)"
        )
