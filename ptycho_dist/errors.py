"""Errors that are a person's to mend, told apart from faults of the program."""

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
    """A mistake in a config, a file or a command: one line that says what to do.

    Commands print the message without a traceback and exit with `exit_code`.
    """

    exit_code = EXIT_USER_MISTAKE


class RunError(Exception):
    """A run that cannot go on, said in one line; the rank exits with 1 and prints no traceback."""


class JoinError(RunError):
    """The ranks did not come together; the message names each rank that is at fault."""

    def __init__(self, message: str, table: str = "") -> None:
        super().__init__(message)
        self.table = table
        """Who differs in what, in lines of text, for a log."""


class DivergedLoss(RunError):
    """The loss is no longer finite; nothing of it is committed."""


class DataError(UserError):
    """A data file that is missing, damaged, or not what its contract promises."""


class ClusterUnreachable(UserError):
    """The scheduler does not answer: not installed, not running, or not reachable from here."""

    exit_code = EXIT_CLUSTER_UNREACHABLE


def printable(text: str) -> str:
    """`text` on one line: what would break it, or command a terminal, is written out (`\\x1b`)."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line_errors(debug: bool, command: Callable[[], int]) -> int:
    """Run a command; a UserError becomes one line on stderr per fault, and its exit code.

    Args:
        debug: let errors through, with their traceback.
        command: returns the exit code when all is well.
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
