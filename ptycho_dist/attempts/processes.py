"""Processes by machine, number and start time: a number alone may have been given to another."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from ptycho_dist.errors import UserError


@dataclass(frozen=True)
class LocalProcess:
    """One process on one machine; its text is the job id of a run without a scheduler."""

    machine: str
    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> LocalProcess:
        """The process that has this number here and now."""
        return cls(socket.gethostname(), pid, start_time(pid) or 0)

    @classmethod
    def parse(cls, text: str) -> LocalProcess:
        """Read what `str` wrote.

        Raises:
            UserError: it is something else.
        """
        try:
            machine, pid, started = text.rsplit(":", 2)
            return cls(machine, int(pid), int(started))
        except ValueError:
            raise UserError(f"{text!r} is no process of a local run") from None

    def __str__(self) -> str:
        return f"{self.machine}:{self.pid}:{self.started}"

    @property
    def here(self) -> bool:
        """Whether it ran on this machine."""
        return self.machine == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether it runs still; only to be asked of a process that is `here`."""
        return self.here and start_time(self.pid) == self.started


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None: it is gone (or a zombie).

    From /proc/PID/stat, proc(5): field 3 is the state, field 22 the start time.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def find_processes(module: str, directory: Path) -> list[int]:
    """Processes of this machine that run MODULE of what is installed, or of frozen code
    (`module_command` of rundir/frozen.py), for a directory; by number."""
    wanted = [module.encode(), os.fsencode(directory)]
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is somebody else's
            continue
        if words[3:5] == wanted and start_time(int(entry.name)) is not None:
            found.append(int(entry.name))
    return sorted(found)
