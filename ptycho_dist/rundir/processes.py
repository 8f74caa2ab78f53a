"""Processes by number and start time: a number alone may have been given to another one."""

from __future__ import annotations

from pathlib import Path


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None: it is gone (or a zombie).

    From /proc/PID/stat, proc(5): field 3 is the state, field 22 the start time.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])
