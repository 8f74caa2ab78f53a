"""Marks in time: how one is made, and what lies between two of them.

On a GPU the host runs ahead of the device: there a mark is an event on the current stream, and the
time between two of them is the device's. Waiting for data then shows where the stream ran dry, and
the reduction where the stream waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Marks:
    """The clock of one device."""

    make: Callable[[], Any]
    """A mark, here and now; on a GPU: where the stream stands."""
    seconds: Callable[[Any, Any], float]
    """From a mark to a later one; both have passed."""
    passed: Callable[[Any], bool]
    """Whether the device has come there. Nothing waits."""
    wait: Callable[[Any], None]
    """Until it has."""


def marks_of(device: torch.device) -> Marks:
    """The clock of the device that a rank computes on.

    The events of CUDA have been tried with a stand-in only: not on a GPU yet.
    """
    if device.type == "cuda":
        return Marks(
            _record_event,
            lambda earlier, later: earlier.elapsed_time(later) / 1e3,  # it gives milliseconds
            lambda event: event.query(),
            lambda event: event.synchronize(),
        )
    return Marks(
        time.perf_counter,
        lambda earlier, later: later - earlier,
        lambda mark: True,
        lambda mark: None,
    )


def _record_event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event
