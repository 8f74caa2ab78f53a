"""`ptycho-launch list`: all runs, one line each."""

from __future__ import annotations

import argparse
import json

from launcher.commands.arguments import knows_runs, selects_states, speaks_json

SUMMARY = "list the runs, the newest last"
EXAMPLE = "ptycho-launch list --state failed,running"


def arguments(command: argparse.ArgumentParser) -> None:
    """Take `--runs-dir` and `--state`."""
    knows_runs(command)
    speaks_json(command)
    selects_states(command, "all")


def run(options: argparse.Namespace) -> int:
    """Print a line for each run or array."""
    from launcher.control.submission import settle
    from launcher.slurm.jobs import Scheduler
    from launcher.status.overview import overview, overview_json
    from ptycho_dist.rundir.listing import list_runs

    states = [state for state in (options.state or "").split(",") if state]
    runs, scheduler = list_runs(options.runs_dir), Scheduler(every_s=60)
    settle(runs, scheduler)
    statuses = overview(runs, states, scheduler)
    if options.json:
        print(json.dumps(overview_json(statuses), indent=2))
    elif statuses:
        from launcher.status.present import show_overview
        from launcher.text.console import console

        show_overview(statuses, console())
    else:
        print(f"no {'such ' if states else ''}runs in {options.runs_dir}")
    return 0
