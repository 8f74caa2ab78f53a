"""`ptycho-launch status`: what a run is doing."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from launcher.commands.arguments import speaks_json, takes_run
from ptycho_dist.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from launcher.slurm.jobs import Scheduler
    from ptycho_dist.rundir.array import ArrayDirectory

SUMMARY = "show what a run or an array is doing"
EXAMPLE = "ptycho-launch status fly64-20260714-101500-3f9a --watch"


def arguments(command: argparse.ArgumentParser) -> None:
    """Take RUN and `--watch`."""
    takes_run(command)
    speaks_json(command)
    command.add_argument("--watch", action="store_true", help="show changes until the run is over")


def run(options: argparse.Namespace) -> int:
    """Show the run or the array; with `--watch` until it is over."""
    from launcher.commands.which_run import run_or_array
    from launcher.control.submission import settle
    from launcher.slurm.jobs import Scheduler
    from launcher.status.details import details_of
    from launcher.status.present import show_run
    from launcher.status.run_status import status_of
    from launcher.text.console import console
    from launcher.watching.watch import watch
    from ptycho_dist.rundir.array import ArrayDirectory

    found = run_or_array(options.runs_dir, options.run)
    screen = console(stderr=options.json)
    scheduler = Scheduler(every_s=60)
    settle([found], scheduler)
    try:
        if isinstance(found, ArrayDirectory):
            return _status_of_array(found, options, scheduler)
        status = watch(found, screen) if options.watch else status_of(found, scheduler)
        details = details_of(found, status)
    except KeyboardInterrupt:
        if not options.watch:
            raise
        screen.print("stopped watching; the run continues")
        return EXIT_INTERRUPTED
    if options.json:
        print(json.dumps(details.to_json(), indent=2))
    else:
        show_run(details, screen)
    return 0


def _status_of_array(
    array: ArrayDirectory, options: argparse.Namespace, scheduler: Scheduler
) -> int:
    from launcher.arrays.present import show_array
    from launcher.status.array_status import array_status, watch_array
    from launcher.text.console import console

    screen = console(stderr=options.json)
    status = watch_array(array, screen.print) if options.watch else array_status(array, scheduler)
    if options.json:
        print(json.dumps(status.to_json(), indent=2))
    else:
        show_array(status, screen)
    return 0
