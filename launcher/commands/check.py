"""`ptycho-launch check`: would the cluster take this run?"""

from __future__ import annotations

import argparse
import json
import shlex

from launcher.commands.arguments import knows_runs, speaks_json, takes_config
from launcher.status.next_command import default_runs_dir
from ptycho_dist.errors import EXIT_USER_MISTAKE

SUMMARY = "check a config against the live cluster, without submitting it"
EXAMPLE = "ptycho-launch check run.yaml --set resources.partition=gpu"


def arguments(command: argparse.ArgumentParser) -> None:
    """Take CONFIG."""
    takes_config(command)
    knows_runs(command)
    speaks_json(command)


def run(options: argparse.Namespace) -> int:
    """Show what the cluster says of the plan; exit 2 where it would refuse the run."""
    from rich.console import Console

    from launcher.planning.load import load_and_plan
    from launcher.preflight.check import check_run
    from launcher.preflight.present import show_report

    report = check_run(*load_and_plan(options), options.runs_dir)
    if options.json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        words = [word for override in options.overrides for word in ("--set", override)]
        if options.runs_dir != default_runs_dir():
            words += ["--runs-dir", str(options.runs_dir)]
        show_report(report, shlex.join([str(options.config), *words]), Console())
    return 0 if report.passed else EXIT_USER_MISTAKE
