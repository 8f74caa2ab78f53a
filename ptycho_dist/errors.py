"""Exit codes, and the errors that a person can fix, as opposed to faults of the program."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

EXIT_RUN_FAILED = 1
EXIT_USER_MISTAKE = 2
EXIT_CLUSTER_UNREACHABLE = 3
EXIT_INTERRUPTED = 130
EXIT_STOPPED = 75
"""A rank stopped on request with its work saved (EX_TEMPFAIL of sysexits.h)."""


class UserError(Exception):
    """A mistake in a config, a file or a command, explained in one line that says what to do.

    Commands print the message without a traceback and exit with `exit_code`.
    """

    exit_code = EXIT_USER_MISTAKE


class RunError(Exception):
    """A run that cannot continue; the rank prints one line without a traceback and exits with 1."""


class JoinError(RunError):
    """The ranks could not form a group; the message names each rank at fault."""

    def __init__(self, message: str, table: str = "") -> None:
        super().__init__(message)
        self.table = table
        """Plain-text table for the log that shows which ranks differ in what."""


class DivergedLoss(RunError):
    """The loss is no longer finite; no checkpoint is committed from that step on."""


class DataError(UserError):
    """A data file is missing, damaged, or breaks the data contract."""


class ClusterUnreachable(UserError):
    """The scheduler does not answer: it is not installed, not running, or not reachable."""

    exit_code = EXIT_CLUSTER_UNREACHABLE


def printable(text: str) -> str:
    r"""Return `text` on one line, with line breaks and terminal controls escaped (`\x1b`)."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its type if it has no message."""
    return _line((str(error).strip().splitlines() or [""])[0], error)


def in_one_line(error: BaseException) -> str:
    """The whole message of an error on one line; its type if it has no message."""
    return _line(str(error), error)


def _line(text: str, error: BaseException) -> str:
    return " ".join(text.split()) or type(error).__name__


def one_line_errors(debug: bool, command: Callable[[], int]) -> int:
    """Run a command and turn a UserError into one line on stderr per fault.

    Args:
        debug: Whether to let errors through with their traceback.
        command: The command; without an error it returns its own exit code.

    Returns:
        The exit code of the command, of the error, or of an interruption by Ctrl-C.
    """
    try:
        return command()
    except UserError as error:
        if debug:
            raise
        for line in str(error).split("\n"):
            print(f"error: {printable(line)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `ptycho-launch logs RUN | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
