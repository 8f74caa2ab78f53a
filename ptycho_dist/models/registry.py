"""The networks by their names in `model.architecture`."""

from __future__ import annotations

from collections.abc import Callable

from ptycho_dist.config.model import ModelConfig
from ptycho_dist.models.cnn import PtychoCNN
from ptycho_dist.models.unrolled import UnrolledNetwork
from ptycho_dist.models.views import PatchNetwork

_CONSTRUCTORS: dict[str, Callable[[ModelConfig], PatchNetwork]] = {
    "cnn": PtychoCNN,
    "unrolled": UnrolledNetwork,
}


def build_model(config: ModelConfig) -> PatchNetwork:
    """Build the untrained network that `config.architecture` names.

    Weights are drawn from torch's global generator. `ModelConfig` allows only the names in this
    module.
    """
    return _CONSTRUCTORS[config.architecture](config)
