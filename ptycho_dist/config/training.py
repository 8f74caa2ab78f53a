"""How long, how much at a time, and against which loss; and the canonical training config."""

import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from ptycho_dist.config.data import DataConfig
from ptycho_dist.config.model import ModelConfig
from ptycho_dist.config.strictness import STRICT, AnyPath, only


def _power_of_two(count: int) -> int:
    if count & (count - 1):
        raise ValueError("a power of two is expected")
    return count


def new_name_of_n_images(values: Any) -> Any:
    """`n_images` under its present name, `n_groups`, with a DeprecationWarning.

    Raises:
        ValueError: both are given, and differ.
    """
    given = getattr(values, "kwargs", values)  # pydantic hands a dataclass's ArgsKwargs over
    if not isinstance(given, dict) or "n_images" not in given:
        return values
    n_images = given.pop("n_images")
    if n_images is None:
        return values
    warnings.warn("n_images is deprecated; use n_groups", DeprecationWarning, stacklevel=3)
    if given.get("n_groups", n_images) != n_images:
        raise ValueError(
            f"n_images {n_images} and n_groups {given['n_groups']}: leave n_images out"
        )
    given["n_groups"] = n_images
    return values


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingSection:
    """The `training:` block of run.yaml."""

    nepochs: Annotated[int, Field(ge=1, le=10**9, description="Passes over the samples.")] = 50
    batch_size: Annotated[
        int,
        Field(
            ge=1,
            le=2**29,
            description="Samples per rank and micro-batch (not the global batch); a power of two.",
        ),
        AfterValidator(_power_of_two),
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
    realspace_weight: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Weight of the mean square error of the object patches against the labels "
            "(needs model_type: supervised).",
        ),
    ] = 0.0
    realspace_mae_weight: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Weight of the mean absolute error of the object patches against the "
            "labels (needs model_type: supervised).",
        ),
    ] = 0.0
    nphotons: Annotated[
        float | None,
        Field(
            gt=0,
            description="Photons of a mean pattern, to which amplitudes are scaled that are not "
            "sqrt(counts); none: as the file has them.",
        ),
    ] = None
    positions_provided: Annotated[
        bool,
        Field(description="true alone: a scan file has its positions."),
        only(True, "a scan file has its positions (DATA-001), and none are guessed"),
    ] = True
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
    intensity_scale_trainable: Annotated[
        bool,
        Field(
            description="The brightness of the prediction is learned, beginning with the mean "
            "count of a pattern."
        ),
    ] = False
    sequential_sampling: Annotated[
        bool, Field(description="Samples in scan order, instead of an order drawn per epoch.")
    ] = False
    seed: Annotated[
        int, Field(ge=0, lt=2**32, description="Seed of the initial weights and the sample order.")
    ] = 0
    backend: Annotated[
        Literal["pytorch", "tensorflow"],
        Field(description="pytorch alone."),
        only("pytorch", "this is the PyTorch backend alone"),
    ] = "pytorch"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingConfig(TrainingSection, DataConfig):
    """The canonical training config: flat, as consumers of PtychoPINN know it.

    run.yaml has the same fields in its `data:`, `model:` and `training:` blocks.
    """

    model: ModelConfig = Field(default_factory=ModelConfig)
    train_data_file: AnyPath | None = None  # type: ignore[assignment]
    output_dir: AnyPath = Path("training_outputs")

    @model_validator(mode="before")
    @classmethod
    def _deprecated_names(cls, values: Any) -> Any:
        return new_name_of_n_images(values)
