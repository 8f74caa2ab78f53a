"""The `model:` block: the network, and the physics that it is trained with."""

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
"""Field → the only architecture that uses it."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelConfig:
    """The `model:` block of run.yaml."""

    N: Annotated[
        Literal[64, 128, 256],
        Field(description="Size of the diffraction patterns: N × N detector pixels."),
    ] = 64
    gridsize: Annotated[
        int,
        Field(
            ge=1,
            le=4,
            description="A group holds gridsize² overlapping patterns. 1: every pattern is "
            "its own group.",
        ),
    ] = 1
    architecture: Annotated[
        Literal["cnn", "unrolled"],
        Field(
            description="cnn: a convolutional network that maps diffraction amplitudes to "
            "object patches. unrolled: alternating phase-retrieval steps and learned "
            "corrections."
        ),
    ] = "cnn"
    stages: Annotated[
        int,
        Field(
            ge=1,
            le=64,
            description="Number of phase-retrieval steps of the unrolled network. Not used by cnn.",
        ),
    ] = 6
    model_type: Annotated[
        Literal["pinn", "supervised"],
        Field(
            description="pinn: train on the measured diffraction alone. supervised: also "
            "train on the object patches that the file holds as labels (DATA-SUP-001)."
        ),
    ] = "pinn"
    n_filters_scale: Annotated[
        float,
        Field(
            gt=0,
            le=8,
            description="Width of the network: its first layer has 32 × n_filters_scale "
            "channels (unrolled: 8 ×).",
        ),
    ] = 2.0
    amp_activation: Annotated[
        Literal["softplus", "sigmoid", "swish", "relu"],
        Field(
            description="Activation that turns the output of the cnn into an object "
            "amplitude. All are non-negative and equal 1 at input 0; sigmoid stays below 2, the "
            "others are unbounded."
        ),
    ] = "softplus"
    object_big: Annotated[
        bool,
        Field(
            description="Merge the patches of a group on one canvas during training. false: "
            "each patch predicts its own pattern. The reconstruction always merges all patches."
        ),
    ] = True
    probe_big: Annotated[
        bool,
        Field(
            description="The cnn also predicts the border of a patch. false: the object is "
            "set to 1 outside the middle N/2 × N/2 pixels."
        ),
    ] = True
    probe_mask: Annotated[
        bool, Field(description="Set the probe to zero outside a disc of diameter N/2 pixels.")
    ] = False
    pad_object: Annotated[
        bool,
        Field(
            description="The cnn predicts the middle N/2 × N/2 pixels and the border with two "
            "separate heads. false: one head predicts the whole patch."
        ),
    ] = True
    probe_scale: Annotated[
        float | None,
        Field(
            gt=0, description="Always none: the scale of the probe follows from the photon counts."
        ),
        only(None, "the scale of the probe follows from the photon counts (DATA-083)"),
    ] = None
    gaussian_smoothing_sigma: Annotated[
        float,
        Field(
            ge=0,
            description="Standard deviation, in pixels, of the Gaussian that smooths the exit "
            "wave. 0: no smoothing.",
        ),
    ] = 0.0

    @model_validator(mode="after")
    def _fields_of_this_architecture(self) -> "ModelConfig":
        for field in dataclasses.fields(self):
            owner = _OF_ONE_ARCHITECTURE.get(field.name, self.architecture)
            value = getattr(self, field.name)
            if owner != self.architecture and value != field.default:
                raise ValueError(
                    f"model.{field.name}: {value!r}, but only architecture {owner} uses it and "
                    f"model.architecture is {self.architecture}; omit it"
                )
        if not self.pad_object and not self.probe_big:
            raise ValueError(
                "model.probe_big: false, but with pad_object: false one head predicts the whole "
                "patch, border included; set one of the two to true"
            )
        return self
