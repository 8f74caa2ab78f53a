"""`ptycho-launch submit`: start a run."""

from __future__ import annotations

import argparse

from launcher.commands.arguments import (
    chooses_cluster,
    knows_runs,
    speaks_json,
    takes_axes,
    takes_config,
    waits,
)
from launcher.commands.following import follow
from launcher.commands.following_array import follow_array
from launcher.commands.loading import load_and_plan

SUMMARY = "submit a run"
EXAMPLE = "ptycho-launch submit run.yaml --cluster local --wait"


def arguments(command: argparse.ArgumentParser) -> None:
    takes_config(command)
    takes_axes(command)
    knows_runs(command)
    chooses_cluster(command, "slurm where sbatch is on PATH, else local")
    waits(command)
    speaks_json(command)


def run(options: argparse.Namespace) -> int:
    from launcher.submit import choose_cluster, submit

    if options.array or options.throttle is not None:
        return _submit_array(options, choose_cluster(options.cluster))
    loaded, plan = load_and_plan(options)
    submission = submit(loaded, plan, choose_cluster(options.cluster), options.runs_dir)
    return follow(submission, wait=options.wait, as_json=options.json)


def _submit_array(options: argparse.Namespace, cluster: str) -> int:
    from launcher.arrays.plan import plan_array
    from launcher.arrays.submit import submit_array

    planned = plan_array(options.config, options.overrides, options.array, options.throttle)
    submission = submit_array(planned, cluster, options.runs_dir)
    return follow_array(submission, wait=options.wait, as_json=options.json)
