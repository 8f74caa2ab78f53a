"""Start our programs from the tests as forks of a preloaded Python (fork_server.py)."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import fork_child

SERVER = Path(__file__).with_name("fork_server.py")
FORKING_PYTHON = SERVER.with_name("forking_python.py")
ROOM_FOR_COMMAND = 16_384
ENVIRONMENT = dict(os.environ)
"""As the session began: no test has changed it yet."""


class ForkServer:
    """The server of this test process, started when it is first used; it ends with us."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fork-server-")  # a short path
        self.address = f"{self._folder.name}/door"
        self._life, theirs = socket.socketpair()
        with theirs, socket.socket(socket.AF_UNIX) as door:
            door.bind(self.address)
            door.listen()
            handed_over = [theirs.fileno(), door.fileno()]
            self._process = subprocess.Popen(
                [sys.executable, str(SERVER), *map(str, handed_over), "x" * ROOM_FOR_COMMAND],
                stdin=subprocess.DEVNULL,
                pass_fds=handed_over,
                env=ENVIRONMENT,
            )

    def start(
        self, program: fork_child.Program, surroundings: fork_child.Surroundings
    ) -> tuple[int, socket.socket]:
        """Start a program; returns its number, and the socket that will bring its status."""
        request = {
            "command": program.command,
            "environment": dict(surroundings.environment),
            "directory": surroundings.directory,
            "new_session": surroundings.new_session,
        }
        text = json.dumps(request).encode()
        server = socket.socket(socket.AF_UNIX)
        server.connect(self.address)
        socket.send_fds(server, [len(text).to_bytes(8, "big")], list(surroundings.streams))
        server.sendall(text)
        return number_from(server), server

    def close(self) -> None:
        """End the server; what it has forked lives on."""
        self._process.kill()
        self._process.wait()
        self._life.close()
        self._folder.cleanup()


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

    _status: socket.socket | None = None

    def _execute_child(self, *arguments: Any) -> None:
        asked = fork_child.asked_of_popen(self, arguments)
        program = fork_child.forkable(asked, ENVIRONMENT)
        if program is None or asked["preexec_fn"] is not None or not asked["close_fds"]:
            super()._execute_child(*arguments)  # type: ignore[misc]
            return
        surroundings = fork_child.surroundings_of(asked, ENVIRONMENT)
        self.pid, self._status = the_server().start(program, surroundings)
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


_lock = threading.Lock()
_servers: list[ForkServer] = []


def the_server() -> ForkServer:
    """The one server of this session, started when the first test needs it."""
    with _lock:
        if not _servers:
            _servers.append(ForkServer())
        return _servers[0]


def close_server() -> None:
    """At the end of a test session."""
    while _servers:
        _servers.pop().close()


def virtual_environment(folder: Path) -> Path:
    """A folder whose `bin/python` has the server fork what it can, for `environment.venv`."""
    program = folder / "bin" / "python"
    program.parent.mkdir(parents=True)
    words = [sys.executable, "-I", "-S", str(FORKING_PYTHON), the_server().address, sys.executable]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    program.chmod(0o755)
    return folder
