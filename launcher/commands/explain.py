"""`ptycho-launch explain`: why a run ended."""

from __future__ import annotations

import argparse
import json

from launcher.commands.arguments import speaks_json, takes_run

SUMMARY = "say why a run ended, which rank failed first, and what to do"
EXAMPLE = "ptycho-launch explain fly64-20260714-101500-3f9a"


def arguments(command: argparse.ArgumentParser) -> None:
    takes_run(command)
    command.add_argument("--attempt", type=int, metavar="N", help="which start (default: the last)")
    speaks_json(command)


def run(options: argparse.Namespace) -> int:
    from rich.console import Console

    from launcher.control.submission import settle
    from launcher.explain.explain import explain
    from launcher.explain.present import show_explanation
    from launcher.slurm.jobs import Scheduler
    from ptycho_dist.rundir.layout import find_run

    found, scheduler = find_run(options.runs_dir, options.run), Scheduler(every_s=60)
    settle([found], scheduler)
    explanation = explain(found, options.attempt, scheduler)
    if options.json:
        print(json.dumps(explanation.to_json(), indent=2))
    else:
        show_explanation(explanation, Console())
    return 0
