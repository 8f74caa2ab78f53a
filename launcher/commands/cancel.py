"""`ptycho-launch cancel`: end a run."""

from __future__ import annotations

import argparse

from launcher.commands.arguments import takes_run

SUMMARY = "end a run or an array: checkpoint if it can, within 30 s in any case"
EXAMPLE = "ptycho-launch cancel fly64-20260714-101500-3f9a"


def arguments(command: argparse.ArgumentParser) -> None:
    takes_run(command)


def run(options: argparse.Namespace) -> int:
    from launcher.arrays.cancel import cancel_array
    from launcher.control.cancel import cancel
    from launcher.status.array_status import summary
    from ptycho_dist.rundir.array import ArrayDirectory, find_run_or_array

    found = find_run_or_array(options.runs_dir, options.run)
    if isinstance(found, ArrayDirectory):
        ended = cancel_array(found)
        print(f"{found.array_id}: {summary(each.state for each in ended)}")
        return 0
    status = cancel(found)
    print(f"{status.run_id}: {status.state}; {status.cause}")
    return 0
