"""The command `ptycho-launch`: parse, call one command, print."""

from __future__ import annotations

from collections.abc import Sequence

from launcher.commands import COMMANDS
from launcher.parser import build_parser
from ptycho_dist.errors import one_line_errors


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done; 1 the run failed; 2 the user's mistake; 3 the cluster cannot be reached;
        130 interrupted by Ctrl-C.
    """
    options = build_parser().parse_args(arguments)
    return one_line_errors(options.debug, lambda: COMMANDS[options.command].run(options))
