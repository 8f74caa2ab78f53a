"""The `training:` block: duration, batches, loss and seeds; and the canonical training config."""

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
        raise ValueError("must be a power of two")
    return count


def new_name_of_n_images(values: Any) -> Any:
    """Rename a given `n_images` to `n_groups`, with a DeprecationWarning.

    Raises:
        ValueError: both are given and differ.
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
            f"n_images is {n_images} and n_groups is {given['n_groups']}: omit n_images"
        )
    given["n_groups"] = n_images
    return values


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingSection:
    """The `training:` block of run.yaml."""

    nepochs: Annotated[
        int, Field(ge=1, le=10**9, description="Number of epochs (passes over the samples).")
    ] = 50
    batch_size: Annotated[
        int,
        Field(
            ge=1,
            le=2**29,
            description="Samples per rank and micro-batch; a power of two. The global batch "
            "is batch_size × execution.accum_steps × ranks.",
        ),
        AfterValidator(_power_of_two),
    ] = 16
    nll_weight: Annotated[
        float,
        Field(ge=0, le=1, description="Weight of the Poisson negative log-likelihood in the loss."),
    ] = 1.0
    mae_weight: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Weight of the mean absolute error of the amplitudes in the loss, "
            "relative to their root mean square.",
        ),
    ] = 0.0
    realspace_weight: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Weight of the mean squared error between object patches and labels. "
            "Needs model_type: supervised.",
        ),
    ] = 0.0
    realspace_mae_weight: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Weight of the mean absolute error between object patches and labels. "
            "Needs model_type: supervised.",
        ),
    ] = 0.0
    nphotons: Annotated[
        float | None,
        Field(
            gt=0,
            description="Mean number of photons per pattern. Amplitudes that are not square "
            "roots of counts are scaled to it. none: amplitudes are used as stored.",
        ),
    ] = None
    positions_provided: Annotated[
        bool,
        Field(description="Always true: a scan file must contain the scan positions."),
        only(True, "positions must be in the scan file (DATA-001) and are never guessed"),
    ] = True
    probe_trainable: Annotated[
        bool,
        Field(
            description="Refine the probe together with the network, starting from the probe "
            "in the data file."
        ),
    ] = False
    probe_learning_rate: Annotated[
        float,
        Field(
            gt=0,
            description="Learning rate of a trainable probe, relative to its brightest pixel.",
        ),
    ] = 1e-2
    intensity_scale_trainable: Annotated[
        bool,
        Field(
            description="Learn the overall intensity of the predicted patterns, starting from "
            "the mean photon count per pattern."
        ),
    ] = False
    sequential_sampling: Annotated[
        bool,
        Field(description="Use the samples in scan order. false: shuffle them anew in each epoch."),
    ] = False
    seed: Annotated[
        int,
        Field(
            ge=0, lt=2**32, description="Random seed for the initial weights and the sample order."
        ),
    ] = 0
    backend: Annotated[
        Literal["pytorch", "tensorflow"],
        Field(description="Always pytorch."),
        only("pytorch", "only the PyTorch backend is available"),
    ] = "pytorch"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingConfig(TrainingSection, DataConfig):
    """The canonical training config of PtychoPINN, without blocks.

    run.yaml has the same fields in its `data:`, `model:` and `training:` blocks.
    """

    model: ModelConfig = Field(default_factory=ModelConfig)
    train_data_file: AnyPath | None = None  # type: ignore[assignment]
    output_dir: AnyPath = Path("training_outputs")

    @model_validator(mode="before")
    @classmethod
    def _deprecated_names(cls, values: Any) -> Any:
        return new_name_of_n_images(values)
