"""`ptycho-launch script`: the batch script, for people who submit it themselves."""

from __future__ import annotations

import argparse
import sys

from launcher.commands.arguments import knows_runs, takes_config

SUMMARY = "make a run directory and print its batch script, without submitting it"
EXAMPLE = "ptycho-launch script run.yaml > job.sbatch && sbatch job.sbatch"


def arguments(command: argparse.ArgumentParser) -> None:
    """Take CONFIG."""
    takes_config(command)
    knows_runs(command)


def run(options: argparse.Namespace) -> int:
    """Make the run directory, and print the script on stdout and all else on stderr."""
    from launcher.control.submit import prepare
    from launcher.planning.load import load_and_plan

    prepared = prepare(*load_and_plan(options), options.runs_dir)
    print(f"prepared {prepared.path}; submit the script with sbatch to start it", file=sys.stderr)
    sys.stdout.write(prepared.script.read_text("utf-8"))
    return 0
