"""What a checkpoint holds besides Lightning's own state: position, world, random generators.

Lightning saves weights, optimizer, schedule and loop counters. It saves neither the random state
nor the position in the data, and it would resume a validation in its middle (specs/resume.md,
RS-001 to RS-008).
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
"""Fields of the world on which the bits of the result depend, besides the config."""
_RESIZED = ("ranks", "threads_per_rank")
"""Those of `_FIXED` that may change if the user allows another number of ranks."""


def put_run_state(
    checkpoint: dict[str, Any],
    position: Position,
    world: World,
    agreement: Agreement,
    device: torch.device,
    *,
    ends_epoch: bool,
) -> None:
    """Add the state of the run to a checkpoint that is being made; all ranks call this together.

    Args:
        checkpoint: is changed in place.
        position: the place in the data for which the checkpoint stands.
        world: counts of ranks, batches and samples.
        agreement: gathers the random states of all ranks.
        device: of this rank.
        ends_epoch: whether an epoch has just ended.
    """
    checkpoint["position"] = {
        "epoch": position.epoch,
        "sample": position.sample,
        "ends_epoch": ends_epoch,
    }
    checkpoint["world"] = {name: getattr(world, name) for name in _FIXED}
    checkpoint["rng"] = agreement.gather(rng_state(device))


def begin_validation_anew(checkpoint: dict[str, Any]) -> None:
    """Change a checkpoint made before or within a validation, so that the validation starts again.

    After the resume Lightning begins the validation at its first batch, and trains no part of the
    epoch again.
    """
    progress = checkpoint["loops"]["fit_loop"][_VALIDATION]
    for counts in (progress["total"], progress["current"]):
        counts |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    progress["current"] = dict.fromkeys(progress["current"], 0)
    progress["is_last_batch"] = False


def require_same_world(checkpoint: dict[str, Any], world: World, *, resize: bool) -> bool:
    """Check that the run resumes in the world that wrote the checkpoint.

    Args:
        checkpoint: as it was loaded.
        world: that of this attempt.
        resize: whether the user has allowed another number of ranks.

    Returns:
        Whether the number of ranks has changed.

    Raises:
        UserError: something on which the result depends has changed and may not.
    """
    stored = checkpoint["world"]
    changed = [name for name in _FIXED if stored[name] != getattr(world, name)]
    refused = [name for name in changed if not (resize and name in _RESIZED)]
    if refused:
        found = ", ".join(f"{name} {stored[name]} → {getattr(world, name)}" for name in refused)
        raise UserError(
            f"the checkpoint was written by another world ({found}); resume with the same one"
            + ("" if resize else ", or `ptycho-launch resume --allow-resize` for other ranks")
        )
    return "ranks" in changed


def schedule_shift(position: Position, world: World, steps_done: int) -> int:
    """Return the steps by which the schedule must be ahead of the steps done.

    With that shift the schedule is where this position is in an epoch of this world.
    """
    in_epoch = math.ceil(position.sample / world.global_batch)
    return position.epoch * world.steps_per_epoch + in_epoch - steps_done


def restore_own_rng(states: torch.Tensor, rank: int, seed: int, device: torch.device) -> None:
    """Restore the random generators of this rank, or seed them if the rank is a new one.

    Args:
        states: random states of all ranks that wrote the checkpoint, (ranks, ROOM) uint8.
        rank: this rank.
        seed: `training.seed`.
        device: of this rank.
    """
    if rank < len(states):
        restore_rng(states[rank], device)
    else:
        seed_rng(seed + rank)
