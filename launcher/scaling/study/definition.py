"""A scaling study: its points and what they share, as study.json holds them.

The runs of a study are the members of an array, in the order in which they run; each is an ordinary
run with its own world. The bounds of the fields are checked when study.json is read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ptycho_dist.rundir.checked_json import LATEST
from ptycho_dist.rundir.measurement_plan import MOST, MeasurementPlan

Mode = Literal["strong", "weak"]
LrRule = Literal["sqrt", "linear", "none"]
MOST_NODES, MOST_TASKS, MOST_REPEATS, MOST_LANES = 100_000, 1024, 1000, 1000
_MOST = 10**15

_Batch = Annotated[int, Field(ge=1, le=_MOST)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Nodes = Annotated[int, Field(ge=1, le=MOST_NODES)]
_Tasks = Annotated[int, Field(ge=1, le=MOST_TASKS)]
_Modes = Annotated[
    tuple[Mode, ...], Field(min_length=1), AfterValidator(lambda modes: tuple(dict.fromkeys(modes)))
]
_Override = (
    str
    | Annotated[int, Field(ge=-_MOST, le=_MOST)]
    | Annotated[float, Field(ge=-_MOST, le=_MOST, allow_inf_nan=False)]
)


@dataclass(frozen=True)
class BaseSetup:
    """The training as the config of the study has it, which the points change."""

    ranks: _Batch
    batch_size: _Batch
    """Samples per rank and batch."""
    accum_steps: _Batch
    global_batch: _Batch
    """Samples per optimizer step, over all ranks."""
    learning_rate: _Positive
    samples: _Batch
    """Samples per epoch."""
    epochs: _Batch


@dataclass(frozen=True)
class Point:
    """One run of a study."""

    index: Annotated[int, Field(ge=0, le=MOST)]
    """Place in the order of the runs, which is the index of the member."""
    modes: _Modes
    """Both modes where they mean the same run."""
    nodes: _Nodes
    tasks_per_node: _Tasks
    repeat: Annotated[int, Field(ge=0, le=MOST_REPEATS)]
    """Counted from 0; all sizes of one repeat run before those of the next."""
    batch_size: _Batch
    """Samples per rank and batch."""
    global_batch: _Batch
    """Samples per optimizer step, over all ranks."""
    learning_rate: _Positive
    overrides: dict[str, _Override]
    """Field path → value that the point sets in the config of the study."""

    @property
    def ranks(self) -> int:
        """World size."""
        return self.nodes * self.tasks_per_node


@dataclass(frozen=True)
class Study:
    """The request for a study, and the runs that follow from it."""

    name: str
    created_at: Annotated[float, Field(ge=0, lt=LATEST, allow_inf_nan=False)]
    """Seconds since the epoch."""
    cluster: Annotated[str, Field(pattern="^(slurm|local)$")]
    """`slurm` or `local`."""
    command: tuple[str, ...]
    """The command that repeats the study, as a list of words."""
    config_sha256: str
    """Digest of the config that the points change."""
    base: BaseSetup
    modes: _Modes
    nodes: Annotated[tuple[_Nodes, ...], Field(min_length=1)]
    tasks_per_node: Annotated[tuple[_Tasks, ...], Field(min_length=1)]
    repeats: Annotated[int, Field(ge=1, le=MOST_REPEATS)]
    seed: Annotated[int, Field(ge=0, le=MOST)]
    """Seed of the order of the runs."""
    lr_rule: LrRule
    measurement: MeasurementPlan
    points: Annotated[tuple[Point, ...], Field(min_length=1)]
    format: Literal[1] = field(default=1, kw_only=True)
    """Version of the file's layout."""
