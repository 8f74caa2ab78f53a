"""Applying a trained network to data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from ptycho_dist.config.strictness import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class InferenceConfig:
    """What `ptycho-infer` does: one network, one data file, one output folder."""

    model_path: Annotated[Path, Field(description="Run directory that holds the checkpoint.")]
    test_data_file: Annotated[Path, Field(description="NPZ file of the data contract.")]
    output_dir: Annotated[Path, Field(description="Folder that receives the object.")]
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
    batch_size: Annotated[int, Field(ge=1, le=10**9, description="Groups predicted at once.")] = 32
    probe: Annotated[
        Literal["auto", "file", "learned"],
        Field(
            description="Whose probe: of the data file, or as the run has learned it; auto: "
            "learned where there is one."
        ),
    ] = "auto"
    truth_file: Annotated[
        Path | None,
        Field(description="Truth of a simulated scan; none: NAME.truth.npz beside it, if any."),
    ] = None
    show_positions: Annotated[bool, Field(description="The picture shows the scan positions.")] = (
        False
    )
