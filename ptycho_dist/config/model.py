"""The network and the physics it is trained with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from ptycho_dist.config.strictness import STRICT


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
        Literal["pinn"],
        Field(description="pinn: trained on the measured diffraction alone, without labels."),
    ] = "pinn"
    n_filters_scale: Annotated[
        float,
        Field(
            gt=0,
            le=8,
            description="Width of the network: the first layer has 32 × this (unrolled: 8 ×).",
        ),
    ] = 2.0
