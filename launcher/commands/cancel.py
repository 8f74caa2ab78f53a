"""`ptycho-launch cancel`: end a run or an array."""

from __future__ import annotations

import argparse
import json

from launcher.commands.arguments import speaks_json, takes_run

SUMMARY = "end a run or an array within 30 s, with a checkpoint if it can"
EXAMPLE = "ptycho-launch cancel fly64-20260714-101500-3f9a"


def arguments(command: argparse.ArgumentParser) -> None:
    """Take RUN."""
    takes_run(command)
    speaks_json(command)


def run(options: argparse.Namespace) -> int:
    """End what is still alive, and say in which state it ended."""
    from launcher.arrays.cancel import cancel_array
    from launcher.commands.which_run import CANCELLABLE, run_or_array_to
    from launcher.control.cancel import cancel
    from launcher.status.array_status import summary
    from launcher.status.overview import overview_json
    from ptycho_dist.rundir.array import ArrayDirectory

    found = run_or_array_to("cancel", CANCELLABLE, options.runs_dir, options.run)
    if isinstance(found, ArrayDirectory):
        ended = cancel_array(found)
        said = f"{found.array_id}: {summary(each.state for each in ended)}"
    else:
        ended = [cancel(found)]
        said = f"{ended[0].run_id}: {ended[0].state}; {ended[0].cause}"
    print(json.dumps(overview_json(ended), indent=2) if options.json else said)
    return 0
