"""`ptycho-launch logs`: what the ranks said."""

from __future__ import annotations

import argparse

from launcher.commands.arguments import takes_run

SUMMARY = "print what the ranks said"
EXAMPLE = "ptycho-launch logs fly64-20260714-101500-3f9a --rank 0 -f"


def arguments(command: argparse.ArgumentParser) -> None:
    takes_run(command)
    command.add_argument("--rank", type=int, help="one rank alone (default: all)")
    command.add_argument("-f", "--follow", action="store_true", help="go on until the run is over")


def run(options: argparse.Namespace) -> int:
    from launcher.logs import log_lines
    from ptycho_dist.rundir.layout import find_run

    for line in log_lines(find_run(options.runs_dir, options.run), options.rank, options.follow):
        print(line, flush=options.follow)
    return 0
