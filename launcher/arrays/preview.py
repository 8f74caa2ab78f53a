"""Shows what an array would be, before it is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.arrays.grid import ArrayPart, split
from launcher.arrays.plan import ArrayPlan
from launcher.arrays.submit import script_of
from launcher.slurm.scontrol import max_array_size
from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.listing import absolute

ID_PLACEHOLDER = "ARRAY-ID"


@dataclass(frozen=True)
class Preview:
    """The job arrays that an array would have, and the script of the first."""

    parts: list[ArrayPart]
    script: str

    def to_json(self, plan: ArrayPlan) -> dict[str, Any]:
        """Plain data for `plan --array --json`."""
        return {
            "axes": plan.axes,
            "members": len(plan.members),
            "job_arrays": [
                {"indices": str(part.indices), "tasks": part.tasks} for part in self.parts
            ],
        }


def preview(plan: ArrayPlan, runs_root: Path) -> Preview:
    """Split an array at the site's MaxArraySize, and render the script of the first job array.

    Raises:
        UserError: this SLURM does not accept job arrays.
    """
    members = len(plan.members)
    parts = split(range(members), members, max_array_size())
    array = ArrayDirectory(absolute(runs_root) / f"{plan.shared.name}-{ID_PLACEHOLDER}")
    script = script_of(
        plan.shared, array, parts[0], number=0, members=members, throttle=plan.throttle
    )
    return Preview(parts, script)
