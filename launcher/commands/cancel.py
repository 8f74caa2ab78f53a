"""`ptycho-launch cancel`: end a run."""

from __future__ import annotations

import argparse

from launcher.commands.arguments import takes_run

SUMMARY = "end a run: checkpoint if it can, within 30 s in any case"
EXAMPLE = "ptycho-launch cancel fly64-20260714-101500-3f9a"


def arguments(command: argparse.ArgumentParser) -> None:
    takes_run(command)


def run(options: argparse.Namespace) -> int:
    from launcher.cancel import cancel
    from ptycho_dist.rundir.layout import find_run

    status = cancel(find_run(options.runs_dir, options.run))
    print(f"{status.run_id}: {status.state}; {status.cause}")
    return 0
