"""The config of a reconstruction with a trained network."""

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

    Fields about groups that are omitted take the values of the training run.
    """

    model: Annotated[
        ModelConfig | None,
        Field(description="Network that the run must have. none: accept any."),
    ] = None
    model_path: Annotated[AnyPath, Field(description="Run directory with the checkpoint.")]
    test_data_file: Annotated[
        AnyPath, Field(description="Data to reconstruct: an NPZ file of the data contract.")
    ]
    output_dir: Annotated[AnyPath, Field(description="Folder for the reconstructed object.")] = (
        Path("inference_outputs")
    )
    n_groups: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**12,
            description="Number of groups to reconstruct. none: one group per pattern.",
        ),
    ] = None
    n_subsample: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**12,
            description="Number of patterns to use, drawn at random before they are grouped. "
            "none: all patterns.",
        ),
    ] = None
    neighbor_count: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**6,
            description="Number of nearest neighbours of a seed pattern from which the other "
            "members of its group are drawn. none: as in the training run.",
        ),
    ] = None
    subsample_seed: Annotated[
        int | None,
        Field(
            ge=0,
            lt=2**32,
            description="Random seed for drawing patterns, groups and group members. none: as "
            "in the training run.",
        ),
    ] = None
    probe: Annotated[
        Literal["auto", "file", "learned"],
        Field(
            description="file: the probe of the data file. learned: the probe that the run "
            "has learned. auto: the learned probe if there is one, else that of the file."
        ),
    ] = "auto"
    truth_file: Annotated[
        AnyPath | None,
        Field(
            description="Ground truth of a simulated scan. none: NAME.truth.npz next to the "
            "data file, if it exists."
        ),
    ] = None
    show_positions: Annotated[
        bool, Field(description="Show the scan positions in the picture.")
    ] = False
    debug: Annotated[bool, Field(description="Show the traceback of an error.")] = False

    @model_validator(mode="before")
    @classmethod
    def _deprecated_names(cls, values: Any) -> Any:
        return new_name_of_n_images(values)
