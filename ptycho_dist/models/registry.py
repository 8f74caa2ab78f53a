"""Networks by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ptycho_dist.config.model import ModelConfig
from ptycho_dist.models.cnn import PtychoCNN

_CONSTRUCTORS: dict[str, Callable[[ModelConfig], nn.Module]] = {"cnn": PtychoCNN}


def build_model(config: ModelConfig) -> nn.Module:
    """The network that `config.architecture` names, untrained.

    It maps s·A (B, C, N, N) float32, C = gridsize², to object patches (B, C, N, N) complex64; B may
    be 0. Weights are drawn from torch's global generator. `ModelConfig` admits no other names than
    those kept here.
    """
    return _CONSTRUCTORS[config.architecture](config)
