"""Reading what a checkpoint holds: tensors and plain values, nothing else (RD-004)."""

from __future__ import annotations

from typing import Any

import torch

from ptycho_dist.checkpoint.catalog import Checkpoint
from ptycho_dist.errors import UserError


def read_state(checkpoint: Checkpoint, map_location: Any = "cpu") -> dict[str, Any]:
    """The state of a checkpoint, never unpickling anything but tensors and plain values.

    Sizes are checked, checksums are not: `newest_whole` has read every byte when rank 0 chose
    this checkpoint, and reading it all once more on each rank would load the file system in vain.
    Damage that comes later shows here only where torch finds the file unreadable.

    Raises:
        UserError: a file is missing or of another size, or holds anything else.
    """
    fault = checkpoint.size_fault()
    if fault is not None:
        raise UserError(f"{checkpoint.path}: damaged: {fault}")
    try:
        state = torch.load(checkpoint.state, map_location=map_location, weights_only=True)
    except Exception as error:  # damaged bytes make the reader fail in many ways
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{checkpoint.path}: cannot be read as tensors and plain values: {reason}"
        ) from None
    if not isinstance(state, dict):
        raise UserError(
            f"{checkpoint.path}: holds a {type(state).__name__}, not the state of a run"
        )
    return state
