"""`ptycho-launch status`: what a run is doing."""

from __future__ import annotations

import argparse
import json

from launcher.commands.arguments import may_take_run, speaks_json
from ptycho_dist.errors import EXIT_INTERRUPTED

SUMMARY = "show what a run is doing"
EXAMPLE = "ptycho-launch status fly64-20260714-101500-3f9a --watch"


def arguments(command: argparse.ArgumentParser) -> None:
    may_take_run(command)
    speaks_json(command)
    command.add_argument("--watch", action="store_true", help="go on until the run is over")


def run(options: argparse.Namespace) -> int:
    from launcher.overview import newest_run
    from launcher.present_status import show_report
    from launcher.report import report_of
    from launcher.terminal import console
    from launcher.watch import watch
    from ptycho_dist.rundir.layout import find_run

    found = find_run(options.runs_dir, options.run) if options.run else newest_run(options.runs_dir)
    screen = console(stderr=options.json)
    try:
        report = report_of(found, watch(found, screen) if options.watch else None)
    except KeyboardInterrupt:
        if not options.watch:
            raise
        screen.print("the watching ends; the run goes on")
        return EXIT_INTERRUPTED
    if options.json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        show_report(report, screen)
    return 0
