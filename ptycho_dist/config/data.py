"""The `data:` block: the data files, and how their patterns are grouped into samples."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from ptycho_dist.config.strictness import STRICT, AnyPath


def _place_on_a_node(value: str) -> str:
    if not value.startswith(("/", "$")):
        raise ValueError("must be an absolute path or begin with a variable ($)")
    if not value.isprintable():
        raise ValueError("must not contain control characters or line breaks")
    return value


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataConfig:
    """The `data:` block of run.yaml. Relative paths start at the working directory."""

    train_data_file: Annotated[
        AnyPath, Field(description="Training data: an NPZ file of the data contract.")
    ]
    test_data_file: Annotated[
        AnyPath | None,
        Field(description="Validation data: a second NPZ file. none: no validation."),
    ] = None
    n_groups: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**12,
            description="Number of samples (groups of patterns) per epoch. none: one group "
            "per pattern.",
        ),
    ] = None
    n_subsample: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**12,
            description="Number of training patterns to use, drawn at random before they are "
            "grouped. none: all patterns.",
        ),
    ] = None
    neighbor_count: Annotated[
        int,
        Field(
            ge=1,
            le=10**6,
            description="Number of nearest neighbours of a seed pattern from which the other "
            "members of its group are drawn.",
        ),
    ] = 7
    block_size: Annotated[
        int | None,
        Field(
            ge=1,
            le=4096,
            description="Number of patterns that share one canvas: a seed pattern and its "
            "nearest neighbours. Needs model.gridsize 1. none: groups of gridsize² patterns.",
        ),
    ] = None
    subsample_seed: Annotated[
        int,
        Field(
            ge=0,
            lt=2**32,
            description="Random seed for drawing patterns, groups and group members.",
        ),
    ] = 0
    stage_to: Annotated[
        str | None,
        Field(
            max_length=1024,
            description="Node-local directory to which each node copies the data files before "
            "reading them. Variables such as `$TMPDIR` are expanded on the node. none: the "
            "files are read in place.",
        ),
        AfterValidator(lambda value: value if value is None else _place_on_a_node(value)),
    ] = None

    def files(self) -> dict[str, Path]:
        """Field → path of each data file that the config names."""
        named = {"train_data_file": self.train_data_file, "test_data_file": self.test_data_file}
        return {field: path for field, path in named.items() if path is not None}
