"""`ptycho-launch explain`: why a run ended."""

from __future__ import annotations

import argparse
import json

from launcher.commands.arguments import speaks_json, takes_attempt, takes_run

SUMMARY = "say why a run ended, which rank failed first, and what to do"
EXAMPLE = "ptycho-launch explain fly64-20260714-101500-3f9a"


def arguments(command: argparse.ArgumentParser) -> None:
    """Take RUN and `--attempt`."""
    takes_run(command)
    takes_attempt(command)
    speaks_json(command)


def run(options: argparse.Namespace) -> int:
    """Print the explanation; exit 0 whatever the run's own end was."""
    from rich.console import Console

    from launcher.commands.which_run import one_run
    from launcher.control.submission import settle
    from launcher.explain.explain import explain
    from launcher.explain.present import show_explanation
    from launcher.slurm.jobs import Scheduler

    found, scheduler = one_run(options.runs_dir, options.run), Scheduler(every_s=60)
    settle([found], scheduler)
    explanation = explain(found, options.attempt, scheduler)
    if options.json:
        print(json.dumps(explanation.to_json(), indent=2))
    else:
        show_explanation(explanation, Console())
    return 0
