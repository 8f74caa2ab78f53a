"""How the process of a rank ends: the report of its failure, and the exit."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from typing import NoReturn

from ptycho_dist.errors import EXIT_RUN_FAILED
from ptycho_dist.runtime.rank_heartbeat import RankHeartbeat


def report_failure(heartbeat: RankHeartbeat | None, reason: str, code: int, table: str = "") -> int:
    """Print why the rank fails, and note it in the heartbeat.

    Args:
        heartbeat: of this rank; None: it failed before its number was known.
        reason: one line.
        code: the exit code, which is returned.
        table: further lines, printed below the reason.
    """
    print(f"error: {reason}", file=sys.stderr)
    if table:
        print(table, file=sys.stderr)
    if heartbeat is not None:
        heartbeat.write("failed", reason=reason)
    return code


def report_crash(heartbeat: RankHeartbeat | None, error: BaseException) -> int:
    """Report an unexpected error with its traceback; return the exit code."""
    traceback.print_exception(error)
    first_line = (str(error).splitlines() or [""])[0]
    return report_failure(heartbeat, f"{type(error).__name__}: {first_line}", EXIT_RUN_FAILED)


def exit_now(code: int) -> NoReturn:
    """Leave the process without running destructors.

    A process group waits in its destructor for ranks that may be gone; that must not keep this one.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    logging.shutdown()
    os._exit(code)
