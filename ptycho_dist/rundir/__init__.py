"""The run directory: the one place where a run says what it is, does and did.

Torch-free. Plain JSON, written atomically, one file per writer, readable without pickle
(specs/run_directory.md).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ptycho_dist.rundir.attempt import Attempt, begin_attempt, end_attempt, read_attempts
    from ptycho_dist.rundir.heartbeat import Heartbeat, read_heartbeats
    from ptycho_dist.rundir.layout import RunDirectory, prepare_run
    from ptycho_dist.rundir.ledger import LedgerWriter, read_ledger

__all__ = [
    "Attempt",
    "Heartbeat",
    "LedgerWriter",
    "RunDirectory",
    "begin_attempt",
    "end_attempt",
    "prepare_run",
    "read_attempts",
    "read_heartbeats",
    "read_ledger",
]

_MODULES = {
    "Attempt": "attempt",
    "begin_attempt": "attempt",
    "end_attempt": "attempt",
    "read_attempts": "attempt",
    "Heartbeat": "heartbeat",
    "read_heartbeats": "heartbeat",
    "RunDirectory": "layout",
    "prepare_run": "layout",
    "LedgerWriter": "ledger",
    "read_ledger": "ledger",
}
"""Where each name is defined."""


def __getattr__(name: str) -> Any:
    """Imports what is asked for alone: on a login node the rest took as long as a plan itself."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
