"""Processes, known by machine, number and start time, because a number alone is used again."""

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
    """Host name."""
    pid: int
    started: int
    """When it started, in clock ticks since the boot of the machine."""

    @classmethod
    def of(cls, pid: int) -> LocalProcess:
        """The process that has this number on this machine now."""
        return cls(socket.gethostname(), pid, start_time(pid) or 0)

    @classmethod
    def parse(cls, text: str) -> LocalProcess:
        """Read a text that `str` wrote.

        Raises:
            UserError: the text is not that of a process.
        """
        try:
            machine, pid, started = text.rsplit(":", 2)
            return cls(machine, int(pid), int(started))
        except ValueError:
            raise UserError(
                f"{text!r} is not the process of a local run; HOST:PID:STARTED is expected"
            ) from None

    def __str__(self) -> str:
        return f"{self.machine}:{self.pid}:{self.started}"

    @property
    def here(self) -> bool:
        """Whether it runs, or ran, on this machine."""
        return self.machine == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether it still runs; False on another machine, as nothing is known about that one."""
        return self.here and start_time(self.pid) == self.started


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None: it is gone, or a zombie.

    From /proc/PID/stat, proc(5): field 3 is the state, field 22 the start time.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def find_processes(module: str, directory: Path) -> list[int]:
    """The numbers of the processes on this machine that run a module for a directory, ascending.

    Args:
        module: name of the module, run from the installed package or from frozen code
            (`module_command` of rundir/frozen.py).
        directory: the run or array that is its first argument.
    """
    wanted = [module.encode(), os.fsencode(directory)]
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:  # the process has ended, or belongs to another user
            continue
        if words[3:5] == wanted and start_time(int(entry.name)) is not None:
            found.append(int(entry.name))
    return sorted(found)
