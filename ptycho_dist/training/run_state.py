"""What a checkpoint holds of the run beside Lightning's state: position, world, random generators.

Lightning keeps weights, optimizer, schedule and loop counters. It keeps no random state, no place
in the data, and would restart a validation in its middle (specs/resume.md, RS-001 to RS-008).
"""

from __future__ import annotations

import logging
import math
from typing import Any

import torch

from ptycho_dist.config.world import World
from ptycho_dist.data.loader import Position
from ptycho_dist.errors import UserError
from ptycho_dist.runtime.agreement import Agreement
from ptycho_dist.runtime.rng import restore_rng, rng_state, seed_rng

log = logging.getLogger(__name__)

_VALIDATION = "epoch_loop.val_loop.batch_progress"
_FIXED = ("ranks", "batch_size", "accum_steps", "threads_per_rank", "samples")
"""What the bits of the result depend on, beside the config."""
_RESIZED = ("ranks", "threads_per_rank")
"""What of it may change where the user allows another world size."""


def put_run_state(
    checkpoint: dict[str, Any],
    position: Position,
    world: World,
    agreement: Agreement,
    device: torch.device,
    *,
    ends_epoch: bool,
) -> None:
    """Add it to a checkpoint that is being made; all ranks call this together."""
    checkpoint["position"] = {
        "epoch": position.epoch,
        "sample": position.sample,
        "ends_epoch": ends_epoch,
    }
    checkpoint["world"] = {name: getattr(world, name) for name in _FIXED}
    checkpoint["rng"] = agreement.gather(rng_state(device))


def begin_validation_anew(checkpoint: dict[str, Any]) -> None:
    """Let a checkpoint that is made before or within a validation say that it has just begun.

    Lightning goes on with the validation then, from its first batch, and trains nothing of the
    epoch again.
    """
    progress = checkpoint["loops"]["fit_loop"][_VALIDATION]
    for counts in (progress["total"], progress["current"]):
        counts |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    progress["current"] = dict.fromkeys(progress["current"], 0)
    progress["is_last_batch"] = False


def require_same_world(checkpoint: dict[str, Any], world: World, *, resize: bool) -> bool:
    """Check that the run goes on as it was; returns whether its world has another size.

    Raises:
        UserError: something on which the result depends has changed, and nobody has allowed it.
    """
    stored = checkpoint["world"]
    changed = [name for name in _FIXED if stored[name] != getattr(world, name)]
    refused = [name for name in changed if not (resize and name in _RESIZED)]
    if refused:
        found = ", ".join(f"{name} {stored[name]} → {getattr(world, name)}" for name in refused)
        raise UserError(
            f"the checkpoint was written by another world ({found}); go on with the same one"
            + ("" if resize else ", or `ptycho-launch resume --allow-resize` for other ranks")
        )
    return "ranks" in changed


def schedule_shift(position: Position, world: World, steps_done: int) -> int:
    """Steps by which the schedule must be ahead of those done, so that it stands where this
    position is in an epoch of this world."""
    in_epoch = math.ceil(position.sample / world.global_batch)
    return position.epoch * world.steps_per_epoch + in_epoch - steps_done


def restore_own_rng(states: torch.Tensor, rank: int, seed: int, device: torch.device) -> None:
    """Take up the random generators of this rank; a rank that was not there before begins anew.

    Args:
        states: of all ranks that wrote the checkpoint, (ranks, ROOM) uint8.
        rank: this one.
        seed: `training.seed`.
        device: of this rank.
    """
    if rank < len(states):
        restore_rng(states[rank], device)
    else:
        seed_rng(seed + rank)
