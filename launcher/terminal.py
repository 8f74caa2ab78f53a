"""What may reach a terminal: no wider than it is, no colours elsewhere, nothing that steers it."""

from __future__ import annotations

import re
import sys

from rich.console import Console

_WIDE = 10_000
"""Of what is no terminal: a line there is a line, for grep and for files."""
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # window titles, clipboard, and other strings
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)


def console(*, stderr: bool = False) -> Console:
    """Where a command prints its tables."""
    stream = sys.stderr if stderr else sys.stdout
    if stream.isatty():
        return Console(stderr=stderr, highlight=False)
    return Console(
        stderr=stderr, width=_WIDE, color_system=None, force_terminal=False, highlight=False
    )


def plain(text: str) -> str:
    """One line of untrusted text as a terminal may show it.

    Of a progress bar that was drawn over itself, the last state is left.
    """
    last = text.rstrip("\r\n").rpartition("\r")[2]
    return _CONTROLS.sub("", _ESCAPES.sub("", last))


def for_stdout(line: str) -> str:
    """A line of a log: as it is for a file or a pipe, `plain` for a terminal."""
    return plain(line) if sys.stdout.isatty() else line
