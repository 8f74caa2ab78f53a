"""`ptycho-launch cancel`: end a run."""

from __future__ import annotations

import argparse

from launcher.commands.arguments import takes_run
from ptycho_dist.rundir.array import find_array
from ptycho_dist.rundir.layout import find_run

SUMMARY = "end a run or an array: checkpoint if it can, within 30 s in any case"
EXAMPLE = "ptycho-launch cancel fly64-20260714-101500-3f9a"


def arguments(command: argparse.ArgumentParser) -> None:
    takes_run(command)


def run(options: argparse.Namespace) -> int:
    from launcher.arrays.cancel import cancel_array
    from launcher.arrays.status import summary
    from launcher.cancel import cancel

    array = find_array(options.runs_dir, options.run)
    if array is not None:
        ended = cancel_array(array)
        print(f"{array.array_id}: {summary(each.state for each in ended)}")
        return 0
    status = cancel(find_run(options.runs_dir, options.run))
    print(f"{status.run_id}: {status.state}; {status.cause}")
    return 0
