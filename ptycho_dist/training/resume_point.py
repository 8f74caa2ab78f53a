"""The checkpoint from which all ranks resume."""

from __future__ import annotations

import json
import logging
from typing import Any

from ptycho_dist.checkpoint.catalog import newest_whole, sweep
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.training.task import TrainingTask

log = logging.getLogger(__name__)


def choose_checkpoint(task: TrainingTask) -> dict[str, Any] | None:
    """Choose the newest whole checkpoint on rank 0, and hand the choice to all ranks.

    A file system may show other ranks an older listing, so that they cannot choose by themselves.

    Returns:
        Name and step of the checkpoint, the attempt that committed it, and why newer ones were
        passed over; None: nothing was ever committed.

    Raises:
        UserError: on rank 0, every checkpoint is damaged or the folder cannot be read.
    """
    store = task.rank.joined.store
    chosen: dict[str, Any] | None = None
    if task.rank.rank == 0:
        chosen = _newest_whole(task.run)
        store.set("checkpoint", json.dumps(chosen))
    if task.world.ranks > 1:
        chosen = json.loads(store.get("checkpoint"))
    return chosen


def _newest_whole(run: RunDirectory) -> dict[str, Any] | None:
    sweep(run)
    found, reasons = newest_whole(run)
    for reason in reasons:
        log.warning("checkpoint passed over: %s", reason)
    if found is None:
        return None
    return {
        "checkpoint": found.path.name,
        "step": found.step,
        "of_attempt": found.manifest().get("attempt"),
        "passed_over": reasons,
    }
