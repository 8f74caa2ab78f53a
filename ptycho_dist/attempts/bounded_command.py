"""Runs another program and waits for its answer: bounded in time and size, never through a shell.

All of SLURM's commands, git, quota and the launcher's own probes are run here, on the login node
and in the batch script alike. What a program inherits is decided in `command_environment`.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ptycho_dist.attempts.job_variables import clean_environment
from ptycho_dist.errors import printable

MOST_BYTES = 16 * 2**20
"""Largest standard output, by default; `squeue` of 50,000 jobs prints about 4 MiB."""
MOST_COMPLAINT_BYTES = 64 * 1024
"""How much of standard error is kept; the rest is read and dropped."""
LAST_WORDS_S = 1.0
"""Seconds to wait for a killed program to disappear, before it is left behind."""
NOT_INHERITED = ("SINFO_", "SQUEUE_", "SCONTROL_", "SACCTMGR_", "GIT_")
"""Beginnings of the names of variables that change the answers that we parse: formats that a user
prefers (SINFO_FORMAT), or the repository of a git hook (GIT_DIR)."""
IDENTITY = "SLURM_JWT"
"""Variable with which a person proves an identity to SLURM where munge is not used."""
_BLOCK = 64 * 1024


@dataclass(frozen=True)
class Answer:
    """What a program printed, and why it failed if it did."""

    stdout: bytes = b""
    stderr: bytes = b""
    code: int | None = None
    """Exit code; None: the program could not be started, or did not run to its end."""
    trouble: str = ""
    """Why there is no answer, in one line that names the program; empty: it ended with code 0."""

    @property
    def text(self) -> str:
        """Standard output."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def complaint(self) -> str:
        """Standard error."""
        return self.stderr.decode("utf-8", "replace")


def run_command(
    command: Sequence[str],
    timeout_s: float,
    *,
    name: str | None = None,
    stdin: str = "",
    folder: Path | None = None,
    variables: Mapping[str, str] | None = None,
    most_bytes: int = MOST_BYTES,
) -> Answer:
    """Run a program; returns within `timeout_s` and a second, whatever the program does.

    The program gets a session of its own. Whatever it has started and left running is killed with
    it. One that hangs in the kernel (a dead file server) cannot be killed, and is not waited for.

    Args:
        command: the program and its arguments.
        timeout_s: seconds for the whole run.
        name: what messages call the program; None: the first word of the command.
        stdin: text for its standard input.
        folder: its working directory; None: ours.
        variables: variables to set beyond those of `command_environment`.
        most_bytes: a program that prints more to standard output is killed, and has no answer.
    """
    called = name or command[0]
    if shutil.which(command[0]) is None:
        return Answer(trouble=f"{command[0]} is not on PATH")
    try:
        with tempfile.TemporaryFile() if stdin else Path(os.devnull).open("r+b") as given:
            given.write(stdin.encode())
            given.seek(0)
            process = subprocess.Popen(
                command,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env=command_environment(os.environ) | dict(variables or {}),
                start_new_session=True,
            )
    except OSError as error:
        return Answer(trouble=f"{command[0]} cannot be run: {error.strerror}")
    return _answer_of(process, called, timeout_s, most_bytes)


def command_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a program inherits: messages in English, and no variable that changes its answers."""
    kept = clean_environment(environ)
    kept = {name: value for name, value in kept.items() if not name.startswith(NOT_INHERITED)}
    if IDENTITY in environ:
        kept[IDENTITY] = environ[IDENTITY]
    return kept | {"LC_ALL": "C"}


def _answer_of(
    process: subprocess.Popen[bytes], called: str, timeout_s: float, most_bytes: int
) -> Answer:
    deadline = time.monotonic() + timeout_s
    try:
        said, complained = _read(process, deadline, most_bytes)
        _await_end(process, deadline)
    except TimeoutError:
        return Answer(trouble=f"{called} did not answer within {round(timeout_s, 1):g} s")
    except _TooMuch:
        return Answer(trouble=f"{called} printed more than {most_bytes} bytes")
    finally:
        code = _end(process)
    trouble = "" if code == 0 else f"{called}: {_first_line(complained or said, called, code)}"
    return Answer(said, complained, code, trouble)


class _TooMuch(Exception):
    """A program has printed more than may be kept."""


def _read(
    process: subprocess.Popen[bytes], deadline: float, most_bytes: int
) -> tuple[bytes, bytes]:
    """Read both outputs until the program and all that it has started have closed them."""
    out, err = _pipe(process.stdout), _pipe(process.stderr)
    found = {out: bytearray(), err: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe in found:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            for key, _ in selector.select(left):
                part = os.read(key.fd, _BLOCK)
                if not part:
                    selector.unregister(key.fileobj)
                elif key.fd == err:
                    found[err] += part[: MOST_COMPLAINT_BYTES - len(found[err])]
                else:
                    found[out] += part
                    if len(found[out]) > most_bytes:
                        raise _TooMuch
    return bytes(found[out]), bytes(found[err])


def _pipe(pipe: IO[bytes] | None) -> int:
    if pipe is None:
        raise ValueError("the program was started without a pipe")
    return pipe.fileno()


def _await_end(process: subprocess.Popen[bytes], deadline: float) -> None:
    """Wait for the end without reaping the process.

    Until it is reaped, the system gives the number of its group to no other process: the group can
    be killed without hitting strangers.
    """
    # If our parent made us ignore SIGCHLD, the system reaps it at once, and there is no child.
    with suppress(ChildProcessError):
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() >= deadline:
                raise TimeoutError
            time.sleep(0.002)


def _end(process: subprocess.Popen[bytes]) -> int | None:
    """Kill what is left of the program and of what it started; returns its exit code."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(LAST_WORDS_S)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    return process.returncode


def _first_line(said: bytes, called: str, code: int | None) -> str:
    """The first line of a program's complaint, without the name of the program."""
    lines = said.decode("utf-8", "replace").strip().splitlines()
    if not lines:
        return f"exit code {code}"
    return printable(lines[0].removeprefix(f"{called}: "))[:200]
