"""Predicts when a training will be done, from what rank 0 has reported (RD-205). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ptycho_dist.rundir.checked_json import LATEST, count, moment


def training_ends_at(progress: Mapping[str, Any], said_at: float) -> float | None:
    """When the last step of the last epoch will be done, in seconds since the epoch.

    The rate is the mean of this attempt: up to the end of its last complete epoch, so that
    validations, checkpoints and pictures count; in its first epoch, up to now.

    Args:
        progress: the figures in the heartbeat of rank 0.
        said_at: when that heartbeat was written, in seconds since the epoch.

    Returns:
        None while no step of this attempt is done.
    """
    step, total = count(progress, "step"), count(progress, "total_steps")
    began_at, began_step = moment(progress, "began_at"), count(progress, "began_step")
    if step is None or total is None or began_at is None or began_step is None:
        return None
    reached_at, reached = said_at, step
    epoch_at, epoch_step = moment(progress, "epoch_at"), count(progress, "epoch_step")
    if epoch_at is not None and epoch_step is not None and began_step < epoch_step <= step:
        reached_at, reached = epoch_at, epoch_step
    if reached <= began_step or reached_at <= began_at:
        return None
    seconds_per_step = (reached_at - began_at) / (reached - began_step)
    ends_at = said_at + max(0, total - step) * seconds_per_step
    return ends_at if ends_at < LATEST else None
