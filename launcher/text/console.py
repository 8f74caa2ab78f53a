"""Where commands print their tables: no wider than the terminal, and without colours elsewhere."""

from __future__ import annotations

import sys

from rich.console import Console

_WIDE = 10_000
"""Of what is no terminal: a line there is a line, for grep and for files."""


def console(*, stderr: bool = False) -> Console:
    """Where a command prints its tables."""
    stream = sys.stderr if stderr else sys.stdout
    if stream.isatty():
        return Console(stderr=stderr, highlight=False)
    return Console(
        stderr=stderr, width=_WIDE, color_system=None, force_terminal=False, highlight=False
    )
