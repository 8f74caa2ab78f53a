"""Typed, frozen, torch-free configuration: what a person asks for, checked before anything runs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptycho_dist.config.data import DataConfig
    from ptycho_dist.config.environment import EnvironmentConfig
    from ptycho_dist.config.execution import PyTorchExecutionConfig
    from ptycho_dist.config.inference import InferenceConfig
    from ptycho_dist.config.legacy import LegacyConfig
    from ptycho_dist.config.model import ModelConfig
    from ptycho_dist.config.resources import RequeueConfig, ResourcesConfig
    from ptycho_dist.config.run import RunConfig
    from ptycho_dist.config.training import TrainingConfig, TrainingSection

__all__ = [
    "DataConfig",
    "EnvironmentConfig",
    "InferenceConfig",
    "LegacyConfig",
    "ModelConfig",
    "PyTorchExecutionConfig",
    "RequeueConfig",
    "ResourcesConfig",
    "RunConfig",
    "TrainingConfig",
    "TrainingSection",
]

_MODULES = {
    "DataConfig": "data",
    "EnvironmentConfig": "environment",
    "PyTorchExecutionConfig": "execution",
    "InferenceConfig": "inference",
    "LegacyConfig": "legacy",
    "ModelConfig": "model",
    "RequeueConfig": "resources",
    "ResourcesConfig": "resources",
    "RunConfig": "run",
    "TrainingConfig": "training",
    "TrainingSection": "training",
}
"""Where each name is defined."""


def __getattr__(name: str) -> Any:
    """Imports what is asked for alone: on a login node the rest took as long as a plan itself."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
