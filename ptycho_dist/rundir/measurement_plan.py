"""What a run of a scaling study measures: how long, and what comes before it counts.

A run measures if its plan.json has a `measurement`; it then ends when that is had, at an optimizer
step on which all ranks agree, without a reconstruction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from ptycho_dist.errors import UserError

Until = Literal["steps", "seconds", "target_loss"]
MOST = 10**9


@dataclass(frozen=True)
class MeasurementPlan:
    """How long each run of a study measures."""

    until: Until
    """`steps`: so many optimizer steps after the warm-up; `seconds`: so long after it, by the clock
    of rank 0; `target_loss`: until the monitored loss of an epoch is as low as `value`."""
    value: float
    warm_up_steps: int
    """First optimizer steps of each attempt, which do not count."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for plan.json."""
        return asdict(self)

    @classmethod
    def of(cls, plan: Mapping[str, Any]) -> MeasurementPlan | None:
        """The measurement that a plan.json asks for; None: the run is an ordinary one.

        Raises:
            UserError: what is there is none.
        """
        record = plan.get("measurement")
        if record is None:
            return None
        try:
            until, value, warm_up = record["until"], record["value"], record["warm_up_steps"]
            sound = (
                until in get_args(Until)
                and type(value) in (int, float)
                and math.isfinite(value)
                and (until == "target_loss" or 0 < value <= MOST)
                and type(warm_up) is int
                and 0 <= warm_up <= MOST
            )
        except (TypeError, KeyError):
            sound = False
        if not sound:
            raise UserError(f"plan.json: no measurement: {str(record)[:80]}")
        return cls(until, float(value), warm_up)
