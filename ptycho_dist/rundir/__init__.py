"""The run directory: the one place where a run says what it is, does and did.

Torch-free. Plain JSON, written atomically, one file per writer, readable without pickle
(specs/run_directory.md).
"""

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
