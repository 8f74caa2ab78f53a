"""`ptycho-launch status`: what a run is doing."""

from __future__ import annotations

import argparse
import json

from rich.console import Console

from launcher import present
from launcher.commands.arguments import speaks_json, takes_run
from ptycho_dist.rundir.array import ArrayDirectory, find_array
from ptycho_dist.rundir.layout import find_run

SUMMARY = "show what a run is doing"
EXAMPLE = "ptycho-launch status fly64-20260714-101500-3f9a"


def arguments(command: argparse.ArgumentParser) -> None:
    takes_run(command)
    speaks_json(command)
    command.add_argument("--watch", action="store_true", help="go on until the run is over")


def run(options: argparse.Namespace) -> int:
    from launcher.status import status_of
    from launcher.watch import watch

    array = find_array(options.runs_dir, options.run)
    if array is not None:
        return _status_of_array(array, options)
    found = find_run(options.runs_dir, options.run)
    console = Console(stderr=options.json)
    status = watch(found, console) if options.watch else status_of(found)
    if options.json:
        print(json.dumps(status.to_json(), indent=2))
    else:
        present.show_status(status, console)
    return 0


def _status_of_array(array: ArrayDirectory, options: argparse.Namespace) -> int:
    from launcher.arrays.present import show_array
    from launcher.arrays.status import array_status, watch_array

    console = Console(stderr=options.json)
    status = watch_array(array, console.print) if options.watch else array_status(array)
    if options.json:
        print(json.dumps(status.to_json(), indent=2))
    else:
        show_array(status, console)
    return 0
