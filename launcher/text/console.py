"""Consoles for the tables of commands: as wide as the terminal, and without colours elsewhere."""

from __future__ import annotations

import sys

from rich.console import Console

_WIDE = 10_000
"""Width if the output is no terminal: for files and grep, a line is never wrapped."""


def console(*, stderr: bool = False) -> Console:
    """The console on which a command prints its tables."""
    stream = sys.stderr if stderr else sys.stdout
    if stream.isatty():
        return Console(stderr=stderr, highlight=False)
    return Console(
        stderr=stderr, width=_WIDE, color_system=None, force_terminal=False, highlight=False
    )
