"""`ptycho-launch logs`: the log lines of the ranks."""

from __future__ import annotations

import argparse

from launcher.commands.arguments import takes_attempt, takes_run

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
        "--errors", action="store_true", help="print only what went wrong, the first error first"
    )


def run(options: argparse.Namespace) -> int:
    """Print the lines, with `--follow` until the run is over."""
    from launcher.commands.which_run import one_run
    from launcher.text.plain_text import for_stdout
    from launcher.watching.logs import Choice, log_lines

    attempt = None if options.attempt is None else str(options.attempt)
    choice = Choice(
        rank=options.rank,
        attempt="all" if options.all_attempts else attempt,
        follow=options.follow,
        tail=options.tail,
        errors=options.errors,
    )
    for line in log_lines(one_run(options.runs_dir, options.run), choice):
        print(for_stdout(line), flush=options.follow)
    return 0
