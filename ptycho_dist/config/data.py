"""Which measurement is read, and how its patterns are grouped into samples."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from ptycho_dist.config.strictness import STRICT, AnyPath


def _place_on_a_node(value: str) -> str:
    if not value.startswith(("/", "$")):
        raise ValueError("an absolute path is expected, or one that begins with a variable ($)")
    if not value.isprintable():
        raise ValueError("control characters and line breaks are not allowed")
    return value


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataConfig:
    """The `data:` block of run.yaml. Relative paths are relative to the working directory."""

    train_data_file: Annotated[AnyPath, Field(description="NPZ file of the data contract.")]
    test_data_file: Annotated[
        AnyPath | None,
        Field(description="A second NPZ file, for validation; none: no validation."),
    ] = None
    n_groups: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**12,
            description="Samples (groups) used; none: each pattern seeds one group.",
        ),
    ] = None
    n_subsample: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**12,
            description="Patterns of the training file that are used, drawn before they are "
            "grouped; none: all.",
        ),
    ] = None
    neighbor_count: Annotated[
        int,
        Field(
            ge=1,
            le=10**6,
            description="Nearest neighbours from which a group's members are chosen.",
        ),
    ] = 7
    block_size: Annotated[
        int | None,
        Field(
            ge=1,
            le=4096,
            description="Patterns of a group that share a canvas: a seed and its nearest "
            "neighbours (needs gridsize 1); none: gridsize².",
        ),
    ] = None
    subsample_seed: Annotated[
        int,
        Field(ge=0, lt=2**32, description="Seed of the choice of patterns, groups and members."),
    ] = 0
    stage_to: Annotated[
        str | None,
        Field(
            max_length=1024,
            description="Directory of each node's own disk to which the data files are copied "
            "before they are read; variables such as `$TMPDIR` are those of the node; none: they "
            "are read where they lie.",
        ),
        AfterValidator(lambda value: value if value is None else _place_on_a_node(value)),
    ] = None

    def files(self) -> dict[str, Path]:
        """The data files that are named, by field."""
        named = {"train_data_file": self.train_data_file, "test_data_file": self.test_data_file}
        return {field: path for field, path in named.items() if path is not None}
