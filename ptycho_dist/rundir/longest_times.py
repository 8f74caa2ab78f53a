"""The longest step and checkpoint of a run, from its ledger."""

from __future__ import annotations

from ptycho_dist.config.lead import Measured
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import rank_writer, read_ledger


def measured_times(run: RunDirectory) -> Measured | None:
    """Return the longest times that rank 0 has recorded; None: it has recorded none."""
    steps, checkpoints = [], []
    for event in read_ledger(run, writer=rank_writer(0)):
        if event["event"] == "checkpoint_committed":
            step_s, seconds = event.get("step_s"), event.get("seconds")
            if isinstance(step_s, (int, float)) and isinstance(seconds, (int, float)):
                steps.append(float(step_s))
                checkpoints.append(float(seconds))
    if not steps:
        return None
    return Measured(max(steps), max(checkpoints))
