"""`ptycho-launch logs`: what the ranks said."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from launcher.commands.arguments import takes_run

if TYPE_CHECKING:
    from ptycho_dist.rundir.layout import RunDirectory

SUMMARY = "print what the ranks said"
EXAMPLE = "ptycho-launch logs fly64-20260714-101500-3f9a --rank 0 --tail 20 -f"


def arguments(command: argparse.ArgumentParser) -> None:
    takes_run(command)
    command.add_argument("--rank", type=int, metavar="N", help="one rank alone (default: all)")
    command.add_argument(
        "--attempt", metavar="N|all", help="of that attempt, or of all (default: the latest)"
    )
    command.add_argument(
        "-f", "--follow", action="store_true", help="go on until the run is over, over requeues too"
    )
    command.add_argument("--tail", type=int, metavar="N", help="the last N lines of each log")
    command.add_argument(
        "--errors", action="store_true", help="only what went wrong, as explain judges it"
    )


def run(options: argparse.Namespace) -> int:
    from launcher.text.plain_text import for_stdout
    from ptycho_dist.rundir.layout import find_run

    run = find_run(options.runs_dir, options.run)
    for line in _error_lines(run, options) if options.errors else _log_lines(run, options):
        print(for_stdout(line), flush=options.follow)
    return 0


def _log_lines(run: RunDirectory, options: argparse.Namespace) -> Iterator[str]:
    from launcher.watching.logs import LogSelection, log_lines

    selection = LogSelection(
        rank=options.rank, attempt=options.attempt, follow=options.follow, tail=options.tail
    )
    return log_lines(run, selection)


def _error_lines(run: RunDirectory, options: argparse.Namespace) -> Iterator[str]:
    from launcher.explain.error_lines import error_lines
    from launcher.status.attempts import attempt_numbers
    from launcher.watching.logs import named_attempt
    from ptycho_dist.errors import UserError

    if options.follow or options.tail is not None:
        raise UserError("--errors reads whole logs; use it without --follow and --tail")
    if options.attempt is None:
        numbers = []
    elif options.attempt == "all":
        numbers = attempt_numbers(run)
    else:
        numbers = [named_attempt(run, options.attempt)]
    return error_lines(run, numbers, options.rank)
