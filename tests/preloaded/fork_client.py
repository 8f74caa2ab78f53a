"""Start our programs from the tests as forks of a preloaded Python (fork_server.py)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar

import fork_child

SERVER = Path(__file__).with_name("fork_server.py")
ROOM_FOR_COMMAND = 16_384
ENVIRONMENT = dict(os.environ)
"""As the session began: no test has changed it yet."""


class ForkServer:
    """The server of this test process, started when it is first used; it ends with us."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(SERVER), str(theirs.fileno()), "x" * ROOM_FOR_COMMAND],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=ENVIRONMENT,
            )

    def start(
        self, program: fork_child.Program, surroundings: fork_child.Surroundings
    ) -> tuple[int, socket.socket]:
        """Start a program; returns its number, and the socket that will bring its status."""
        ours, theirs = socket.socketpair()
        request = {
            "command": program.command,
            "environment": dict(surroundings.environment),
            "directory": surroundings.directory,
            "import_from": list(surroundings.import_from),
            "new_session": surroundings.new_session,
        }
        with self._lock, theirs:
            socket.send_fds(self._requests, [b"x"], [theirs.fileno(), *surroundings.streams])
        ours.sendall(json.dumps(request).encode())
        ours.shutdown(socket.SHUT_WR)
        return number_from(ours), ours

    def close(self) -> None:
        """End the server; what it has forked lives on."""
        self._requests.close()
        self._process.kill()
        self._process.wait()


def number_from(connection: socket.socket) -> int:
    """The next number that the server says."""
    said = connection.recv(8, socket.MSG_WAITALL)
    if len(said) < 8:
        raise RuntimeError("the fork server has ended; its reason is in the captured output")
    return int.from_bytes(said, "big")


class Popen(subprocess.Popen[Any]):
    """`subprocess.Popen` that forks our programs where this is as good as a start.

    All else is that of subprocess: `pid` is the number of the program itself, signals reach it
    directly, and `returncode` is its own, also where a signal has ended it.
    """

    server: ClassVar[ForkServer | None] = None
    _status: socket.socket | None = None

    def _execute_child(self, *arguments: Any) -> None:
        asked = fork_child.asked_of_popen(self, arguments)
        program = fork_child.forkable(asked, ENVIRONMENT)
        if program is None or asked["preexec_fn"] is not None or not asked["close_fds"]:
            super()._execute_child(*arguments)  # type: ignore[misc]
            return
        if Popen.server is None:
            Popen.server = ForkServer()
        surroundings = fork_child.surroundings_of(asked, ENVIRONMENT)
        self.pid, self._status = Popen.server.start(program, surroundings)
        self._child_created = True
        fork_child.close_ends_of_child(self, asked)

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        """What os.waitpid says of a child; ours is the server's child."""
        if self._status is None:
            return super()._try_wait(wait_flags)  # type: ignore[misc]
        self._status.setblocking(not wait_flags & os.WNOHANG)
        try:
            status = number_from(self._status)
        except BlockingIOError:
            return 0, 0
        self._status.close()
        return self.pid, status

    def _internal_poll(self, *arguments: Any, **options: Any) -> int | None:
        if self._status is None:
            return super()._internal_poll(*arguments, **options)  # type: ignore[misc]
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid == self.pid:
                self._handle_exitstatus(status)  # type: ignore[attr-defined]
        return self.returncode


def run(
    command: list[Any], *, timeout: float | None = None, check: bool = False, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """`subprocess.run` with the `Popen` of this module."""
    if options.pop("capture_output", False):
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [os.fspath(word) for word in command]
    with Popen(command, **options) as process:
        try:
            out, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(command, process.returncode, out, errors)
    if check:
        done.check_returncode()
    return done


def close_server() -> None:
    """At the end of a test session."""
    if Popen.server is not None:
        Popen.server.close()
        Popen.server = None
