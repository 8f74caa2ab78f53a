"""Starts each daemon and waits until it answers."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import processes
from layout import Layout

# The PATH of an ordinary user lacks the folders with the daemons.
SEARCH_PATH = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"]
)
PACKAGES = {
    "slurm-wlm": ("slurmctld", "slurmd", "scontrol", "sinfo", "sbatch", "srun", "scancel"),
    "munge": ("munged",),
}
ACCOUNTING_PACKAGES = {
    "slurmdbd": ("slurmdbd",),
    "slurm-client": ("sacct", "sacctmgr"),
    "mariadb-server": ("mariadbd", "mariadb-install-db"),
}
# `up` may be typed inside an allocation or with user settings, whose variables must not leak in.
FOREIGN_VARIABLES = (
    "SLURM", "SBATCH_", "SRUN_", "SALLOC_", "SINFO_", "SQUEUE_", "SACCT", "SCANCEL_", "SCONTROL_",
    "MYSQL_", "MARIADB_",
)  # fmt: skip


class StartError(Exception):
    """A daemon did not start; `logs` are the files that say why."""

    def __init__(self, message: str, logs: list[Path]) -> None:
        super().__init__(message)
        self.logs = logs


def missing_packages(accounting: bool) -> list[str]:
    """The Debian packages whose programs are not installed."""
    wanted = {**PACKAGES, **(ACCOUNTING_PACKAGES if accounting else {})}
    return [
        package
        for package, programs in wanted.items()
        if any(shutil.which(program, path=SEARCH_PATH) is None for program in programs)
    ]


def environment(layout: Layout) -> dict[str, str]:
    """The environment of SLURM's commands on this cluster."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN_VARIABLES)}
    return {**clean, "PATH": SEARCH_PATH, **layout.exports}


def command(layout: Layout, *args: str, limit_s: float = 10.0) -> subprocess.CompletedProcess[str]:
    """Run one of SLURM's commands with a time limit, because many of them retry for minutes."""
    try:
        return subprocess.run(
            args, env=environment(layout), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=max(0.1, limit_s), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(args, 124, "", f"{args[0]}: no answer\n")


class Daemons:
    """The daemons of one cluster that this process starts."""

    def __init__(
        self, layout: Layout, user: str, deadline: float, record: Callable[[str, int, int], None]
    ) -> None:
        self.layout = layout
        self.user = user
        self.deadline = deadline
        self._record = record
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def logs_of(self, name: str) -> list[Path]:
        """The daemon's own log, and the file with what it wrote before it had a log."""
        return [self.layout.log / f"{name}.log", self.layout.log / f"{name}.out"]

    def _start(self, name: str, *args: str, **extra: str) -> subprocess.Popen[bytes]:
        program = shutil.which(args[0], path=SEARCH_PATH) or args[0]
        marked = {
            **environment(self.layout), processes.MARK: str(self.layout.dir), **extra,
        }  # fmt: skip
        with (self.layout.log / f"{name}.out").open("ab") as output:
            # The daemon gets its own session and none of our pipes, so that it outlives the shell,
            # and a caller that reads our stdout sees the end of it.
            popen = subprocess.Popen(
                [program, *args[1:]], env=marked, cwd=self.layout.log, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._started[name] = popen
        if process := processes.find(popen.pid):
            self._record(name, process.pid, process.start_time)
        return popen

    def wait(self, name: str, answers: Callable[[], bool], what: str) -> None:
        """Wait until `answers()` is true; StartError if a daemon ends first or the time is up."""
        while not answers():
            for started, popen in self._started.items():
                if popen.poll() is not None:
                    raise StartError(
                        f"{started} ended with exit code {popen.returncode}", self.logs_of(started)
                    )
            if time.monotonic() >= self.deadline:
                raise StartError(f"{what}: not within the time limit", self.logs_of(name))
            time.sleep(0.05)

    def munged(self) -> None:
        """Start a private munged with its own key and socket; the host's munged is not used."""
        layout = self.layout
        layout.munge_key.touch(mode=0o600)
        layout.munge_key.write_bytes(os.urandom(128))
        # Without --force, munged refuses a directory below a home folder that others cannot enter.
        self._start(
            "munged", "munged", "--foreground", "--force", f"--socket={layout.munge_socket}",
            f"--key-file={layout.munge_key}", f"--pid-file={layout.run}/munged.pid",
            f"--log-file={layout.log}/munged.log", f"--seed-file={layout.run}/munge.seed",
            "--num-threads=4",
        )  # fmt: skip
        self.wait("munged", lambda: _unix_answers(layout.munge_socket), "munge's socket")

    def create_database(self) -> None:
        """Fill a new database folder in which the current user needs no password."""
        install = self._start(
            "mariadb-install", "mariadb-install-db", "--no-defaults", f"--user={self.user}",
            f"--datadir={self.layout.database}", "--skip-test-db",
            "--auth-root-authentication-method=socket", f"--auth-root-socket-user={self.user}",
            "--innodb-log-file-size=8M",
        )  # fmt: skip
        try:
            code = install.wait(max(0.1, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            code = None
        if code != 0:
            said = "did not end" if code is None else f"ended with exit code {code}"
            raise StartError(f"mariadb-install-db {said}", self.logs_of("mariadb-install"))
        del self._started["mariadb-install"]

    def mariadbd(self) -> None:
        """Start a private MariaDB on a socket, without network; a host crash may destroy it."""
        layout = self.layout
        self._start(
            "mariadbd", "mariadbd", "--no-defaults", f"--user={self.user}",
            f"--datadir={layout.database}", f"--socket={layout.database_socket}",
            f"--pid-file={layout.run}/mariadb.pid", "--skip-networking",
            f"--log-error={layout.log}/mariadbd.log", f"--tmpdir={layout.run}",
            "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M",
            "--innodb-flush-log-at-trx-commit=0", "--innodb-lock-wait-timeout=900",
            "--performance-schema=OFF",
        )  # fmt: skip
        self.wait("mariadbd", lambda: _unix_answers(layout.database_socket), "MariaDB's socket")

    def slurmdbd(self, address: str, port: int) -> None:
        """Start the accounting daemon; it listens as soon as the database has its tables."""
        self._start("slurmdbd", "slurmdbd", "-D", MYSQL_UNIX_PORT=str(self.layout.database_socket))
        self.wait("slurmdbd", lambda: _tcp_answers(address, port), "slurmdbd's port")

    def slurmctld(self, address: str, port: int) -> None:
        """Start the controller."""
        self._start("slurmctld", "slurmctld", "-D", "-f", str(self.layout.slurm_conf))
        self.wait("slurmctld", lambda: _tcp_answers(address, port), "slurmctld's port")

    def slurmd(self, node: str) -> None:
        """Start one node; if the controller does not listen yet, registering takes 10 s longer."""
        conf = str(self.layout.slurm_conf)
        self._start(f"slurmd-{node}", "slurmd", "-D", "-N", node, "-f", conf)


def _tcp_answers(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
        return True
    return False


def _unix_answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        with contextlib.suppress(OSError):
            client.connect(str(path))
            return True
    return False
