"""Reads the state in a checkpoint: tensors and plain values, and nothing else (RD-004)."""

from __future__ import annotations

from typing import Any

import torch

from ptycho_dist.checkpoint.catalog import Checkpoint
from ptycho_dist.errors import UserError, first_line


def read_state(checkpoint: Checkpoint, map_location: Any = "cpu") -> dict[str, Any]:
    """Read the state of a checkpoint, without unpickling anything but tensors and plain values.

    Sizes are checked, checksums are not: `newest_whole` has read every byte when rank 0 chose
    this checkpoint, and reading it again on each rank would only load the file system. Damage that
    comes later is noticed only if torch cannot read the file.

    Args:
        checkpoint: to read.
        map_location: where torch puts the tensors.

    Raises:
        UserError: a file is missing or has another size, or holds anything else.
    """
    fault = checkpoint.size_fault()
    if fault is not None:
        raise UserError(f"{checkpoint.path}: damaged: {fault}")
    try:
        state = torch.load(checkpoint.state, map_location=map_location, weights_only=True)
    except Exception as error:  # damaged bytes make the reader fail in many ways
        raise UserError(
            f"{checkpoint.path}: cannot be read as tensors and plain values: {first_line(error)}"
        ) from None
    if not isinstance(state, dict):
        raise UserError(
            f"{checkpoint.path}: holds a {type(state).__name__}, not the state of a run"
        )
    return state
