"""Applying a trained network to data."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ptycho_dist.config.model import ModelConfig
from ptycho_dist.config.strictness import STRICT, AnyPath
from ptycho_dist.config.training import new_name_of_n_images


@dataclass(frozen=True, kw_only=True, config=STRICT)
class InferenceConfig:
    """The canonical inference config: one network, one data file, one output folder.

    What is left out of the choice of groups is that of the run that trained the network.
    """

    model: Annotated[
        ModelConfig | None,
        Field(description="What the run's network must be; none: whatever it is."),
    ] = None
    model_path: Annotated[AnyPath, Field(description="Run directory that holds the checkpoint.")]
    test_data_file: Annotated[AnyPath, Field(description="NPZ file of the data contract.")]
    output_dir: Annotated[AnyPath, Field(description="Folder that receives the object.")] = Path(
        "inference_outputs"
    )
    n_groups: Annotated[
        int | None, Field(ge=1, le=10**12, description="Groups predicted; none: one per pattern.")
    ] = None
    n_subsample: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**12,
            description="Patterns of the file that are used, drawn before they are grouped; none: "
            "all.",
        ),
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
            description="Seed of the choice of patterns, groups and members; none: the run's.",
        ),
    ] = None
    probe: Annotated[
        Literal["auto", "file", "learned"],
        Field(
            description="Whose probe: of the data file, or as the run has learned it; auto: "
            "learned where there is one."
        ),
    ] = "auto"
    truth_file: Annotated[
        AnyPath | None,
        Field(description="Truth of a simulated scan; none: NAME.truth.npz beside it, if any."),
    ] = None
    show_positions: Annotated[bool, Field(description="The picture shows the scan positions.")] = (
        False
    )
    debug: Annotated[bool, Field(description="An error shows its traceback.")] = False

    @model_validator(mode="before")
    @classmethod
    def _deprecated_names(cls, values: Any) -> Any:
        return new_name_of_n_images(values)
