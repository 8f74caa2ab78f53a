"""What a run of a scaling study measures: how long, and how many steps come before it counts.

A run measures if its plan.json has a `measurement`. It then ends as soon as that is measured, at an
optimizer step on which all ranks agree, and makes no reconstruction.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Until = Literal["steps", "seconds", "target_loss"]
MOST = 10**9


@dataclass(frozen=True, config=ConfigDict(defer_build=True))
class MeasurementPlan:
    """How long each run of a study measures."""

    until: Until
    """`steps`: a number of optimizer steps after the warm-up; `seconds`: a time after the warm-up,
    by the clock of rank 0; `target_loss`: until the monitored loss of an epoch is at most `value`.
    """
    value: Annotated[float, Field(allow_inf_nan=False)]
    """The number of steps or seconds, or the loss."""
    warm_up_steps: Annotated[int, Field(ge=0, le=MOST)]
    """First optimizer steps of each attempt, which do not count."""

    def __post_init__(self) -> None:
        if self.until != "target_loss" and not 0 < self.value <= MOST:
            raise ValueError(f"value of {self.until} must be above 0 and at most {MOST}")

    def to_json(self) -> dict[str, Any]:
        """Plain data for plan.json and study.json."""
        return asdict(self)
