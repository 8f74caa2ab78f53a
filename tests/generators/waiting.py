"""Wait for what a run does, however slow the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

HANG_S = 900
"""No test waits longer: whatever has not happened by then hangs. It is no measure of speed."""
T = TypeVar("T")


def wait_for(condition: Callable[[], T], what: str = "change", limit_s: float = HANG_S) -> T:
    """The first answer of `condition` that is true."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"hang: no {what} within {limit_s:.0f} s"
        time.sleep(0.02)
    return found
