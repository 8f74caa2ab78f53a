"""Requests to stop: a signal sets a flag, and nothing else happens inside the handler.

SLURM sends USR2 some time before the walltime (`--signal=USR2@lead`), and TERM on `scancel` and
on preemption. What follows is agreed by all ranks at an optimizer step (ptycho_dist.training).
"""

from __future__ import annotations

import signal
from types import FrameType

STOP_SIGNALS = (signal.SIGUSR2, signal.SIGTERM)


class StopRequest:
    """Whether this process was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.signal_name: str | None = None

    def install(self, *others: signal.Signals) -> None:
        """Take over the stop signals, and `others`; must run in the main thread."""
        for number in (*STOP_SIGNALS, *others):
            signal.signal(number, self._note)

    @property
    def requested(self) -> bool:
        """True from the first stop signal on."""
        return self.signal_name is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.requested:
            raise KeyboardInterrupt  # a second Ctrl-C: at once, with what is committed
        self.signal_name = signal.Signals(number).name
