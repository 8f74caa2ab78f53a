"""The whole of run.yaml, and the rules that tie its blocks together."""

from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ptycho_dist.config.data import DataConfig
from ptycho_dist.config.environment import EnvironmentConfig
from ptycho_dist.config.execution import PyTorchExecutionConfig, trim_misfit
from ptycho_dist.config.legacy import LegacyConfig
from ptycho_dist.config.model import ModelConfig
from ptycho_dist.config.resources import RequeueConfig, ResourcesConfig
from ptycho_dist.config.strictness import STRICT
from ptycho_dist.config.training import TrainingSection

SiteName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
"""Name of a profile; it cannot lead out of the directory of profiles."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RunConfig:
    """The whole of run.yaml (specs/run_config.md)."""

    name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$",
            max_length=64,
            description="Name of the run. The run directory and the job are named after it.",
        ),
    ]
    site: Annotated[
        SiteName | None,
        Field(
            description="Site profile that supplies defaults, limits and rules "
            "(`ptycho-launch sites` lists them). none: no profile."
        ),
    ] = None
    data: DataConfig
    model: ModelConfig = Field(default_factory=ModelConfig)
    training: TrainingSection = Field(default_factory=TrainingSection)
    execution: PyTorchExecutionConfig = Field(default_factory=PyTorchExecutionConfig)
    resources: ResourcesConfig = Field(default_factory=ResourcesConfig)
    requeue: RequeueConfig = Field(default_factory=RequeueConfig)
    environment: EnvironmentConfig = Field(default_factory=EnvironmentConfig)
    legacy: LegacyConfig = Field(default_factory=LegacyConfig)
    reconstruct: Annotated[
        bool,
        Field(
            description="When training is done, reconstruct the whole object from the "
            "training file."
        ),
    ] = True

    @model_validator(mode="after")
    def _sections_agree(self) -> "RunConfig":
        data, model, training = self.data, self.model, self.training
        if data.block_size is not None and model.gridsize != 1:
            raise ValueError(
                f"model.gridsize: {model.gridsize}, but data.block_size is {data.block_size}: a "
                "group is either gridsize² patterns or a block; omit one of the two"
            )
        if data.block_size is not None and not model.object_big:
            raise ValueError(
                f"model.object_big: false, but data.block_size is {data.block_size}: patterns of a "
                "block share a canvas; omit one of the two"
            )
        labels = training.realspace_weight or training.realspace_mae_weight
        if labels and model.model_type != "supervised":
            field = "realspace_weight" if training.realspace_weight else "realspace_mae_weight"
            raise ValueError(
                f"training.{field}: {labels:g}, but it compares with labels, which "
                "model.model_type: pinn does not use; set supervised, or set the weight to 0"
            )
        if model.model_type == "supervised" and not labels:
            raise ValueError(
                "model.model_type: supervised (DATA-SUP-001) learns from labels, but "
                "training.realspace_weight and realspace_mae_weight are both 0; increase one"
            )
        misfit = trim_misfit(self.execution.middle_trim, model.N)
        if misfit:
            raise ValueError(f"execution.middle_trim: {misfit}")
        return self
