"""Requests to stop: a signal sets a flag, and nothing else happens inside the handler.

SLURM sends USR2 some time before the walltime (`--signal=USR2@lead`), and TERM on `scancel` and
on preemption. What follows is agreed by all ranks at an optimizer step (ptycho_dist.training).
"""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

STOP_SIGNALS = (signal.SIGUSR2, signal.SIGTERM)


class StopRequest:
    """Whether this process was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.reason: str | None = None
        """The name of the first signal, or `walltime`."""
        self.asked_at: float | None = None
        """By the monotonic clock."""
        self.arrivals: int | None = None
        """A pipe that has one byte for each signal as soon as it comes, also while the main thread
        is inside a collective, where no handler of Python runs."""

    def install(self, *others: signal.Signals) -> None:
        """Take over the stop signals, and `others`; must run in the main thread."""
        self.arrivals, writing = os.pipe()
        for end in (self.arrivals, writing):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (*STOP_SIGNALS, *others):
            signal.signal(number, self._note)

    @property
    def requested(self) -> bool:
        """True from the first stop signal on."""
        return self.reason is not None

    def ask(self, reason: str) -> None:
        """Ask as a signal would; the first reason stays."""
        if self.reason is None:
            self.reason, self.asked_at = reason, time.monotonic()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.requested:
            raise KeyboardInterrupt  # a second Ctrl-C: at once, with what is committed
        self.ask(signal.Signals(number).name)
