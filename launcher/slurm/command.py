"""Commands that may hang: asked in a process group of their own, and left behind in time."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass

from ptycho_dist.errors import printable

MOST_CHARACTERS = 200_000
LAST_WORDS_S = 1.0
"""For one that was killed to be gone."""


@dataclass(frozen=True)
class Answer:
    """What a command said, or why it said nothing."""

    text: str
    """Its standard output, where it ended with 0."""
    trouble: str = ""
    """`not installed`, `no answer within 5 s`, `exit 1: ...`; empty: it went well."""


def ask(command: list[str], timeout_s: float) -> Answer:
    """Run a command; returns within `timeout_s` and a second, whatever it does.

    One that hangs in the kernel (a dead file server) cannot be killed: nobody waits for it.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except FileNotFoundError:
        return Answer("", "not installed")
    except OSError as error:
        return Answer("", f"cannot be started: {error.strerror}")
    try:
        said, complained = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        with suppress(OSError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate(timeout=LAST_WORDS_S)
        return Answer("", f"no answer within {timeout_s:g} s")
    if process.returncode != 0:
        line = printable((complained.strip() or said.strip()).partition("\n")[0])
        return Answer("", f"exit {process.returncode}: {line[:200]}")
    return Answer(said[:MOST_CHARACTERS])
