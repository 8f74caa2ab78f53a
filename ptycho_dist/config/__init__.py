"""Typed, frozen, torch-free configuration: what a person asks for, checked before anything runs."""

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
