"""The command that a person is likely to want next."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from launcher.status.run_status import RunStatus


def next_command(status: RunStatus) -> tuple[str, str]:
    """What for, and the command, ready to be pasted."""
    run = reference_to(status)
    if status.state == "prepared":
        return "submit it", f"sbatch {shlex.quote(status.path)}/job.sbatch"
    what, words = {
        "pending": ("follow it", f"status {run} --watch"),
        "running": ("follow it", f"status {run} --watch"),
        "unknown": ("see what its ranks said", f"logs {run} --tail 20"),
        "finished": ("see it on one page", f"report {run}"),
        "stopped": ("go on with it", f"resume {run}"),
        "cancelled": ("go on with it", f"resume {run}"),
        "lost": ("go on with it", f"resume {run}"),
        "failed": ("see why", f"explain {run}"),
    }[status.state]
    return what, f"ptycho-launch {words}"


def reference_to(status: RunStatus) -> str:
    """Its id, where a command typed here finds it by that, else its path."""
    default = Path(os.environ.get("PTYCHO_DIST_RUNS_DIR", "runs")).absolute()
    place = default if status.array_id is None else default / status.array_id / "members"
    here = Path(status.path) == place / status.run_id
    return shlex.quote(status.run_id if here else status.path)
