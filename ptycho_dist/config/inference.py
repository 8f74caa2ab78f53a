"""Applying a trained network to data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from ptycho_dist.config.strictness import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class InferenceConfig:
    """What `ptycho-infer` does: one network, one data file, one output folder."""

    model_path: Annotated[Path, Field(description="Run directory that holds the checkpoint.")]
    test_data_file: Annotated[Path, Field(description="NPZ file of the data contract.")]
    output_dir: Annotated[Path, Field(description="Folder that receives object_patches.h5.")]
    n_groups: Annotated[
        int | None, Field(ge=1, le=10**12, description="Groups predicted; none: one per pattern.")
    ] = None
    neighbor_count: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**6,
            description="Nearest neighbours from which members are chosen; none: the run's.",
        ),
    ] = None
    subsample_seed: Annotated[
        int | None,
        Field(
            ge=0,
            lt=2**32,
            description="Seed of the choice of groups and members; none: the run's.",
        ),
    ] = None
    batch_size: Annotated[int, Field(ge=1, le=10**9, description="Groups predicted at once.")] = 16
