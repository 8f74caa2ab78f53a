"""One run: everything that `run.yaml` says."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ptycho_dist.config.data import DataConfig
from ptycho_dist.config.environment import EnvironmentConfig
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.model import ModelConfig
from ptycho_dist.config.resources import RequeueConfig, ResourcesConfig
from ptycho_dist.config.strictness import STRICT
from ptycho_dist.config.training import TrainingConfig


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RunConfig:
    """The whole of run.yaml (specs/run_config.md)."""

    name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$",
            max_length=64,
            description="Name of the run, its directory and its job.",
        ),
    ]
    data: DataConfig
    model: ModelConfig = Field(default_factory=ModelConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    execution: PyTorchExecutionConfig = Field(default_factory=PyTorchExecutionConfig)
    resources: ResourcesConfig = Field(default_factory=ResourcesConfig)
    requeue: RequeueConfig = Field(default_factory=RequeueConfig)
    environment: EnvironmentConfig = Field(default_factory=EnvironmentConfig)
    reconstruct: Annotated[
        bool,
        Field(description="Stitch the object of the training file when the training is done."),
    ] = True

    @model_validator(mode="after")
    def _one_way_of_grouping(self) -> RunConfig:
        if self.data.block_size is not None and self.model.gridsize != 1:
            raise ValueError(
                f"model.gridsize is {self.model.gridsize} and data.block_size "
                f"{self.data.block_size}: a group is either gridsize² patterns or a block; leave "
                "one of the two out"
            )
        return self
