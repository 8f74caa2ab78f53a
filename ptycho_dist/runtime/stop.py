"""Requests to stop: a signal sets a flag, and nothing else happens inside the handler.

SLURM sends USR2 some time before the walltime (`--signal=USR2@lead`), and TERM on `scancel` and
on preemption. All ranks then agree to stop at an optimizer step (ptycho_dist.training).
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

STOP_SIGNALS = (signal.SIGUSR2, signal.SIGTERM)


class StopRequest:
    """Whether this process was asked to stop, and why."""

    def __init__(self) -> None:
        self.reason: str | None = None
        """Name of the first signal, or `walltime`; None: it was not asked to stop."""
        self.asked_at: float | None = None
        """When it was asked, by the monotonic clock."""
        self.arrivals: int | None = None
        """A pipe that gets one byte per signal at once.

        While the main thread is inside a collective no signal handler of Python runs, but the pipe
        can be read by another thread.
        """

    def install(self, *others: signal.Signals) -> None:
        """Install the handler for stop signals and `others`; must run in the main thread."""
        self.arrivals, writing = os.pipe()
        for end in (self.arrivals, writing):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (*STOP_SIGNALS, *others):
            signal.signal(number, self._note)

    @property
    def requested(self) -> bool:
        """Whether the process was asked to stop."""
        return self.reason is not None

    def ask(self, reason: str) -> None:
        """Ask to stop, as a signal does; the first reason is kept."""
        if self.reason is None:
            self.reason, self.asked_at = reason, time.monotonic()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.requested:
            raise KeyboardInterrupt  # a second Ctrl-C ends at once; the last commit is kept
        self.ask(signal.Signals(number).name)
