"""The clock of the device that a rank computes on: marks in time, and the seconds between them.

On a GPU the host runs ahead of the device. There a mark is an event on the current stream, and the
time between two marks is the device's own. Waiting for data then shows where the stream ran dry,
and the reduction shows where the stream waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class DeviceClock:
    """Makes marks in time on one device, and measures between them."""

    mark: Callable[[], Any]
    """Makes a mark: the current time on a CPU, the current place of the stream on a GPU."""
    seconds: Callable[[Any, Any], float]
    """Seconds from one mark to a later one, both of which the device has passed."""
    passed: Callable[[Any], bool]
    """Whether the device has passed a mark; returns at once."""
    wait: Callable[[Any], None]
    """Waits until the device has passed a mark."""


def device_clock(device: torch.device) -> DeviceClock:
    """Return the clock of a device.

    The CUDA clock has been tested with a stand-in for its events only, not on a GPU yet.
    """
    if device.type == "cuda":
        return DeviceClock(
            mark=_record_event,
            seconds=lambda earlier, later: earlier.elapsed_time(later) / 1e3,  # milliseconds
            passed=lambda event: event.query(),
            wait=lambda event: event.synchronize(),
        )
    return DeviceClock(
        mark=time.perf_counter,
        seconds=lambda earlier, later: later - earlier,
        passed=lambda mark: True,
        wait=lambda mark: None,
    )


def _record_event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event
