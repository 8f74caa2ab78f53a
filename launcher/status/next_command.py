"""The command that a person is likely to want next, and how it names a run or an array."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launcher.status.run_status import RunStatus


def next_command(status: RunStatus) -> tuple[str, str]:
    """What for, and the command, ready to be pasted."""
    run = reference_to(Path(status.path))
    if status.state == "prepared":
        return "submit it", f"sbatch {shlex.quote(status.path)}/job.sbatch"
    what, words = {
        "pending": ("follow it", f"status {run} --watch"),
        "running": ("follow it", f"status {run} --watch"),
        "unknown": ("see its last log lines", f"logs {run} --tail 20"),
        "finished": ("see it on one page", f"report {run}"),
        "stopped": ("resume it", f"resume {run}"),
        "cancelled": ("resume it", f"resume {run}"),
        "lost": ("resume it", f"resume {run}"),
        "failed": ("see why", f"explain {run}"),
    }[status.state]
    return what, f"ptycho-launch {words}"


def default_runs_dir() -> Path:
    """The directory of runs that a command takes by default."""
    return Path(os.environ.get("PTYCHO_DIST_RUNS_DIR", "runs"))


def reference_to(path: Path) -> str:
    """How a command that is typed here names a run or an array, quoted for a shell.

    Args:
        path: its directory, absolute.

    Returns:
        Its id, where it lies in the default directory of runs or is a member of an array there;
        else its path.
    """
    array = path.parent.parent
    is_member = path.parent.name == "members" and (array / "array.json").is_file()
    root = array.parent if is_member else path.parent
    return shlex.quote(path.name if root == default_runs_dir().absolute() else str(path))
