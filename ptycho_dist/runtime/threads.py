"""Threads per rank; part of the plan, because their number changes the bits of gradients."""

from __future__ import annotations

import os

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def announce_threads(count: int) -> None:
    """Set the variables that numerical libraries read when they load, before torch is imported."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(count)


def set_threads(count: int) -> int:
    """Set torch's intra-op threads and return the number that torch reports."""
    import torch  # this module must be importable before torch, see announce_threads

    torch.set_num_threads(count)
    return torch.get_num_threads()
