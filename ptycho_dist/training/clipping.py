"""Adaptive gradient clipping: the gradient of a unit is bounded by the size of its weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch

_LEAST_WEIGHT = 1e-3  # without this floor, weights that start at zero could never move


def clip_adaptively(parameters: Iterable[torch.nn.Parameter], clipping: float) -> None:
    """Scale the gradient of each unit so that |g| <= clipping · max(|w|, 1e-3), in place.

    A unit makes one output. It is a slice along the first axis of a weight, or the whole of a
    tensor with one axis (biases, scales). The last layer is clipped like the others, whereas the
    paper leaves that of a classifier alone.

    Source: Brock, De, Smith & Simonyan, arXiv:2102.06171, eq. 3.

    Args:
        parameters: whose gradients are scaled; those without a gradient are skipped.
        clipping: λ, above 0.
    """
    for parameter in parameters:
        if parameter.grad is None:
            continue
        gradient = parameter.grad
        bound = clipping * _unit_norm(parameter.detach()).clamp_min(_LEAST_WEIGHT)
        norm = _unit_norm(gradient)
        gradient.mul_(torch.where(norm > bound, bound / norm.clamp_min(1e-30), 1.0))


def _unit_norm(tensor: torch.Tensor) -> torch.Tensor:
    axes = tuple(range(1, tensor.dim())) if tensor.dim() > 1 else tuple(range(tensor.dim()))
    return torch.linalg.vector_norm(tensor, dim=axes, keepdim=True)
