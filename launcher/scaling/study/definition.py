"""A scaling study: its points, and what they share (study.json of an array of runs).

The runs of a study are the members of an array, in the order in which they run; each is an
ordinary run with a world of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ptycho_dist.rundir.measurement_plan import MeasurementPlan

Mode = Literal["strong", "weak"]
LrRule = Literal["sqrt", "linear", "none"]
FORMAT = 1


@dataclass(frozen=True)
class Point:
    """One run of a study."""

    index: int
    """Its place in the order of the runs: the index of the member."""
    modes: tuple[Mode, ...]
    """Both where the two mean the same run."""
    nodes: int
    tasks_per_node: int
    repeat: int
    """Counted from 0; all sizes of one repeat run before those of the next."""
    batch_size: int
    """Per rank."""
    global_batch: int
    learning_rate: float
    overrides: dict[str, Any]
    """Field path → value: what it changes in the config of the study."""

    @property
    def ranks(self) -> int:
        """World size."""
        return self.nodes * self.tasks_per_node


@dataclass(frozen=True)
class Study:
    """What was asked for, and the runs that come of it."""

    name: str
    created_at: float
    cluster: str
    command: tuple[str, ...]
    """That repeats it."""
    config_sha256: str
    """Of the config that the points change."""
    base: dict[str, Any]
    """Of that config: ranks, batch_size, global_batch, learning_rate, samples, epochs."""
    modes: tuple[Mode, ...]
    nodes: tuple[int, ...]
    tasks_per_node: tuple[int, ...]
    repeats: int
    seed: int
    """Of the order of the runs."""
    lr_rule: LrRule
    measurement: MeasurementPlan
    points: tuple[Point, ...] = field(default=())
