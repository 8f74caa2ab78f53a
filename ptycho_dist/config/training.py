"""How long, how much at a time, and against which loss."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from ptycho_dist.config.strictness import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingConfig:
    """The `training:` block of run.yaml."""

    nepochs: Annotated[int, Field(ge=1, le=10**9, description="Passes over the samples.")] = 50
    batch_size: Annotated[
        int,
        Field(
            ge=1, le=10**9, description="Samples per rank and micro-batch (not the global batch)."
        ),
    ] = 16
    nll_weight: Annotated[
        float, Field(ge=0, le=1, description="Weight of the Poisson negative log-likelihood.")
    ] = 1.0
    mae_weight: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Weight of the mean absolute amplitude error, relative to the root mean "
            "square of the amplitudes.",
        ),
    ] = 0.0
    probe_trainable: Annotated[
        bool,
        Field(
            description="The probe is refined with the network, beginning with that of the file."
        ),
    ] = False
    probe_learning_rate: Annotated[
        float,
        Field(
            gt=0,
            description="Step size of a trainable probe, in units of its brightest pixel.",
        ),
    ] = 1e-2
    sequential_sampling: Annotated[
        bool, Field(description="Samples in scan order, instead of an order drawn per epoch.")
    ] = False
    seed: Annotated[
        int, Field(ge=0, lt=2**32, description="Seed of the initial weights and the sample order.")
    ] = 0
