"""`ptycho-launch logs`: the log lines of the ranks."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from launcher.commands.arguments import takes_attempt, takes_run

if TYPE_CHECKING:
    from ptycho_dist.rundir.layout import RunDirectory

SUMMARY = "print the log lines of the ranks"
EXAMPLE = "ptycho-launch logs fly64-20260714-101500-3f9a --rank 0 --tail 20 -f"


def arguments(command: argparse.ArgumentParser) -> None:
    """Take RUN, and which of its lines to print."""
    takes_run(command)
    command.add_argument("--rank", type=int, metavar="N", help="look at one rank (default: all)")
    attempts = command.add_mutually_exclusive_group()
    takes_attempt(attempts)
    attempts.add_argument(
        "--all-attempts", action="store_true", help="print the lines of every attempt"
    )
    command.add_argument(
        "-f",
        "--follow",
        action="store_true",
        help="print new lines until the run is over, across requeues",
    )
    command.add_argument(
        "--tail", type=int, metavar="N", help="print the last N lines of each log (default: all)"
    )
    command.add_argument(
        "--errors", action="store_true", help="print only what went wrong, as `explain` judges it"
    )


def run(options: argparse.Namespace) -> int:
    """Print the lines, with `--follow` until the run is over."""
    from launcher.commands.which_run import one_run
    from launcher.text.plain_text import for_stdout

    run = one_run(options.runs_dir, options.run)
    for line in _error_lines(run, options) if options.errors else _log_lines(run, options):
        print(for_stdout(line), flush=options.follow)
    return 0


def _log_lines(run: RunDirectory, options: argparse.Namespace) -> Iterator[str]:
    from launcher.watching.logs import LogSelection, log_lines

    selection = LogSelection(
        rank=options.rank,
        attempt=options.attempt,
        all_attempts=options.all_attempts,
        follow=options.follow,
        tail=options.tail,
    )
    return log_lines(run, selection)


def _error_lines(run: RunDirectory, options: argparse.Namespace) -> Iterator[str]:
    from launcher.explain.error_lines import error_lines
    from launcher.watching.logs import require_attempt
    from ptycho_dist.attempts.record import attempt_numbers
    from ptycho_dist.errors import UserError

    if options.follow or options.tail is not None:
        raise UserError("--errors reads whole logs; use it without --follow and --tail")
    if options.attempt is not None:
        require_attempt(run, options.attempt)
        return error_lines(run, [options.attempt], options.rank)
    numbers = attempt_numbers(run) if options.all_attempts else []
    return error_lines(run, numbers, options.rank)
