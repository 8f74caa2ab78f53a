"""Finds the processes of a cluster, and ends them without ever hitting another process.

A process is identified by pid and start time, because the kernel reuses pids.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

# Set in the environment of every daemon; slurmstepd inherits it from slurmd.
MARK = "PTYCHO_DIST_CLUSTER_DAEMON"

PROC = Path("/proc")
DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmscriptd", "slurmd", "slurmstepd")
CLIENTS = ("srun", "sbatch", "salloc", "sattach")


@dataclasses.dataclass(frozen=True)
class Process:
    """One process, as /proc showed it."""

    pid: int
    start_time: int
    parent: int
    name: str


def find(pid: int) -> Process | None:
    """The process with this pid; None if there is none or it has ended (zombies count as ended)."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # pid (name) state ppid ...; the name may contain spaces and brackets
    opened, closed = text.find("("), text.rfind(")")
    fields = text[closed + 2 :].split()
    if len(fields) < 20 or fields[0] in ("Z", "X"):
        return None
    return Process(
        pid=pid,
        start_time=int(fields[19]),
        parent=int(fields[1]),
        name=text[opened + 1 : closed],
    )


def is_running(pid: int, start_time: int) -> bool:
    """Whether the process with this pid and start time still runs."""
    process = find(pid)
    return process is not None and process.start_time == start_time


def boot_id() -> str:
    """An id that changes with every boot of the host; start times count from the boot."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def of_cluster(
    directory: Path, runtime_dir: Path, recorded: Iterable[tuple[int, int]]
) -> list[Process]:
    """Every process of the cluster in `directory`, including those of jobs and their children.

    `recorded` are the (pid, start time) pairs of its daemons. The result never contains the caller
    or its ancestors, because `down` may be typed in a shell that a job of the cluster runs.
    """
    table = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (process := find(int(entry.name))):
            table[process.pid] = process
    protected = _ancestors(os.getpid(), table)
    known = set(recorded)
    members = {
        process.pid
        for process in table.values()
        if process.pid not in protected
        and (
            (process.pid, process.start_time) in known or _belongs(process, directory, runtime_dir)
        )
    }
    # A job may have cleared its environment; as a child of a member it is still found.
    grown = True
    while grown:
        children = {
            process.pid
            for process in table.values()
            if process.parent in members and process.pid not in protected
        }
        grown = not children <= members
        members |= children
    return [table[pid] for pid in sorted(members)]


def _ancestors(pid: int, table: dict[int, Process]) -> set[int]:
    found: set[int] = set()
    while pid and pid not in found:
        found.add(pid)
        pid = table[pid].parent if pid in table else 0
    return found


def _belongs(process: Process, directory: Path, runtime_dir: Path) -> bool:
    """Whether environment, arguments or open files tie the process to the cluster.

    SLURM_CONF alone does not: every program started from a shell that has evaluated the
    export lines has it, even the user's editor. A job's process also has SLURMD_NODENAME.
    """
    variables = _environment(process.pid)
    if variables.get(MARK) == str(directory):
        return True
    points_here = variables.get("SLURM_CONF") == str(directory / "slurm.conf")
    if points_here and ("SLURMD_NODENAME" in variables or process.name in CLIENTS):
        return True
    if process.name not in DAEMONS:
        return False
    # Daemons that set their title may overwrite what /proc shows as their environment.
    roots = {f"{directory}/", f"{runtime_dir}/"}
    arguments = _read(PROC / str(process.pid) / "cmdline").split("\0")
    return any(root in text for root in roots for text in [*arguments, *_open_files(process.pid)])


def _environment(pid: int) -> dict[str, str]:
    entries = _read(PROC / str(pid) / "environ").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def _open_files(pid: int) -> list[str]:
    targets = []
    with contextlib.suppress(OSError):
        for descriptor in (PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):
                targets.append(str(descriptor.readlink()))
    return targets


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""


def send_signal(process: Process, number: int) -> None:
    """Send a signal to exactly this process; do nothing if it has ended."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    except OSError:  # a kernel without pidfd: check, then signal
        if is_running(process.pid, process.start_time):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)
        return
    try:
        # The handle pins the process: if the start time matches, no other can take its pid.
        if is_running(process.pid, process.start_time):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def wait_until_gone(processes: Iterable[Process], limit_s: float) -> list[Process]:
    """Wait for the processes to end; return those that still run after `limit_s`."""
    deadline = time.monotonic() + limit_s
    left = list(processes)
    while left := [process for process in left if is_running(process.pid, process.start_time)]:
        if time.monotonic() >= deadline:
            break
        time.sleep(0.05)
    return left
