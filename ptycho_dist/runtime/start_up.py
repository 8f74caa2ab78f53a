"""The time from the start of a rank's process to its first batch, part by part (START_UP)."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from pathlib import Path

from ptycho_dist.attempts.processes import start_time


class StartUp:
    """Measures the time before training, part by part."""

    def __init__(self) -> None:
        self.started_at = process_started_at()
        """When this process began, in seconds since the epoch."""
        self.seconds: dict[str, float] = {}
        """Seconds of each part so far, by its name."""
        self._since = time.monotonic() - max(0.0, time.time() - self.started_at)

    def spent(self, part: str) -> None:
        """Add the time since the last call, or since the start of the process, to this part."""
        now = time.monotonic()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since = now


def process_started_at() -> float:
    """Return when this process began, in seconds since the epoch, to a tick (10 ms).

    Without /proc it is the current time.
    """
    ticks = start_time(os.getpid())
    if ticks is None:
        return time.time()
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - max(0.0, age_s)


def this_machine() -> str:
    """Return a digest that is equal for all processes of one running system, and only for them.

    It shows when several nodes of a cluster are daemons on one host.
    """
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
    except (OSError, ValueError):
        name = socket.gethostname()
    return hashlib.sha256(name.strip().encode()).hexdigest()[:16]
