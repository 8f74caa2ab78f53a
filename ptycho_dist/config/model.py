"""The network and the physics it is trained with."""

import dataclasses
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ptycho_dist.config.strictness import STRICT, only

_OF_ONE_ARCHITECTURE = {
    "stages": "unrolled",
    "amp_activation": "cnn",
    "probe_big": "cnn",
    "pad_object": "cnn",
    "gaussian_smoothing_sigma": "cnn",
}
"""Fields that the other architecture has no use for."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelConfig:
    """The `model:` block of run.yaml."""

    N: Annotated[
        Literal[64, 128, 256], Field(description="Detector rows and columns used, pixels.")
    ] = 64
    gridsize: Annotated[
        int,
        Field(ge=1, le=4, description="A group holds gridsize² patterns; 1: each pattern alone."),
    ] = 1
    architecture: Annotated[
        Literal["cnn", "unrolled"],
        Field(
            description="cnn: amplitudes in, patches out; unrolled: steps of phase retrieval, each "
            "followed by a learned correction."
        ),
    ] = "cnn"
    stages: Annotated[
        int, Field(ge=1, le=64, description="Steps of the unrolled network; cnn has none.")
    ] = 6
    model_type: Annotated[
        Literal["pinn", "supervised"],
        Field(
            description="pinn: trained on the measured diffraction alone; supervised: also on the "
            "object patches that the file has as labels (DATA-SUP-001)."
        ),
    ] = "pinn"
    n_filters_scale: Annotated[
        float,
        Field(
            gt=0,
            le=8,
            description="Width of the network: the first layer has 32 × this (unrolled: 8 ×).",
        ),
    ] = 2.0
    amp_activation: Annotated[
        Literal["softplus", "sigmoid", "swish", "relu"],
        Field(
            description="How the cnn makes an amplitude of a logit, each 1 at 0 and none negative: "
            "softplus, swish (raised) and relu are unbounded, sigmoid stays below 2."
        ),
    ] = "softplus"
    object_big: Annotated[
        bool,
        Field(
            description="In training the patches of a group are merged on one canvas; false: each "
            "predicts its pattern alone. A reconstruction merges all."
        ),
    ] = True
    probe_big: Annotated[
        bool,
        Field(
            description="The cnn draws the border of a patch too; false: the object is 1 outside "
            "of the middle N/2 × N/2 pixels."
        ),
    ] = True
    probe_mask: Annotated[
        bool, Field(description="The probe is cut off outside of a disc of N/2 pixels across.")
    ] = False
    pad_object: Annotated[
        bool,
        Field(
            description="The cnn draws the middle N/2 × N/2 pixels by a head of their own; false: "
            "one head draws the whole patch."
        ),
    ] = True
    probe_scale: Annotated[
        float | None,
        Field(gt=0, description="none alone: the scale of the probe follows from the counts."),
        only(None, "the scale of the probe follows from the counts (DATA-083)"),
    ] = None
    gaussian_smoothing_sigma: Annotated[
        float,
        Field(ge=0, description="Width of a Gaussian by which the exit wave is smoothed, pixels."),
    ] = 0.0

    @model_validator(mode="after")
    def _fields_of_this_architecture(self) -> "ModelConfig":
        for field in dataclasses.fields(self):
            owner = _OF_ONE_ARCHITECTURE.get(field.name, self.architecture)
            value = getattr(self, field.name)
            if owner != self.architecture and value != field.default:
                raise ValueError(
                    f"model.{field.name}: {value!r}, but only architecture: {owner} has it and "
                    f"this is {self.architecture}; leave it out"
                )
        if not self.pad_object and not self.probe_big:
            raise ValueError(
                "model.probe_big: False, but with pad_object: false one head draws the whole "
                "patch and there is no border to leave out; set one of the two true"
            )
        return self
