"""`ptycho-launch submit`: start a run."""

from __future__ import annotations

import argparse

from launcher.commands.arguments import (
    chooses_cluster,
    knows_runs,
    speaks_json,
    takes_config,
    waits,
)

SUMMARY = "submit a run"
EXAMPLE = "ptycho-launch submit run.yaml --cluster local --wait"


def arguments(command: argparse.ArgumentParser) -> None:
    takes_config(command)
    knows_runs(command)
    chooses_cluster(command, "slurm where sbatch is on PATH, else local")
    waits(command)
    command.add_argument(
        "--after",
        action="append",
        default=[],
        metavar="RUN",
        help="start when this run has finished (repeatable; SLURM)",
    )
    speaks_json(command)


def run(options: argparse.Namespace) -> int:
    from launcher.commands.following import follow
    from launcher.commands.loading import load_and_plan
    from launcher.submit import choose_cluster, submit
    from ptycho_dist.rundir.layout import find_run

    loaded, plan = load_and_plan(options)
    after = [find_run(options.runs_dir, run) for run in options.after]
    submission = submit(loaded, plan, choose_cluster(options.cluster), options.runs_dir, after)
    return follow(submission, wait=options.wait, as_json=options.json)
