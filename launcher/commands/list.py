"""`ptycho-launch list`: all runs, a line each."""

from __future__ import annotations

import argparse
import json
import sys

from rich.console import Console

from launcher import present
from launcher.commands.arguments import knows_runs, speaks_json
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.layout import list_runs

SUMMARY = "list the runs"
EXAMPLE = "ptycho-launch list --json"


def arguments(command: argparse.ArgumentParser) -> None:
    knows_runs(command)
    speaks_json(command)


def run(options: argparse.Namespace) -> int:
    from launcher.arrays.present import show_arrays
    from launcher.arrays.status import fold
    from launcher.scheduler import Scheduler
    from launcher.status import status_of

    scheduler = Scheduler(every_s=60)
    scheduler.learn_all_of_mine()
    statuses = []
    for each in list_runs(options.runs_dir):
        try:
            statuses.append(status_of(each, scheduler))
        except UserError as error:  # one damaged run must not hide the others
            print(f"warning: {error}", file=sys.stderr)
    if options.json:
        print(json.dumps([status.to_json() for status in statuses], indent=2))
    elif statuses:
        alone, arrays = fold(statuses)
        if alone:
            present.show_list(alone, Console())
        if arrays:
            show_arrays(arrays, Console())
    else:
        print(f"no runs in {options.runs_dir}")
    return 0
