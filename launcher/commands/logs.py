"""`ptycho-launch logs`: what the ranks said."""

from __future__ import annotations

import argparse

from launcher.commands.arguments import takes_run

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
        "--errors", action="store_true", help="what went wrong alone, the first error first"
    )


def run(options: argparse.Namespace) -> int:
    from launcher.text.plain_text import for_stdout
    from launcher.watching.logs import Choice, log_lines
    from ptycho_dist.rundir.layout import find_run

    choice = Choice(
        rank=options.rank,
        attempt=options.attempt,
        follow=options.follow,
        tail=options.tail,
        errors=options.errors,
    )
    for line in log_lines(find_run(options.runs_dir, options.run), choice):
        print(for_stdout(line), flush=options.follow)
    return 0
