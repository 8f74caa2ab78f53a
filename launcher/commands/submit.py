"""`ptycho-launch submit`: submit a run or an array of runs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from launcher.commands.arguments import (
    chooses_cluster,
    knows_runs,
    speaks_json,
    takes_axes,
    takes_config,
    waits,
)

if TYPE_CHECKING:
    from ptycho_dist.rundir.array import ArrayDirectory
    from ptycho_dist.rundir.layout import RunDirectory

SUMMARY = "submit a run, or with --array an array of runs"
EXAMPLE = "ptycho-launch submit run.yaml --cluster local --wait"


def arguments(command: argparse.ArgumentParser) -> None:
    """Take CONFIG, the axes of an array, and where and when to run."""
    takes_config(command)
    takes_axes(command)
    knows_runs(command)
    chooses_cluster(command)
    waits(command)
    command.add_argument(
        "--after",
        action="append",
        default=[],
        metavar="RUN",
        help="start only when this run or array has finished (repeatable; needs SLURM)",
    )
    speaks_json(command)


def run(options: argparse.Namespace) -> int:
    """Submit the run or the array; with `--wait` follow it."""
    from launcher.commands.following import follow
    from launcher.commands.which_run import named
    from launcher.control.submit import choose_cluster, submit
    from launcher.planning.load import load_and_plan

    after = [named(options.runs_dir, run) for run in options.after]
    cluster = choose_cluster(options.cluster)
    if options.array or options.throttle is not None:
        return _submit_array(options, cluster, after)
    loaded, plan = load_and_plan(options)
    submission = submit(loaded, plan, cluster, options.runs_dir, after)
    return follow(submission, wait=options.wait, as_json=options.json)


def _submit_array(
    options: argparse.Namespace, cluster: str, after: list[RunDirectory | ArrayDirectory]
) -> int:
    from launcher.arrays.plan import plan_array
    from launcher.arrays.submit import submit_array
    from launcher.commands.following import follow_array

    planned = plan_array(options.config, options.overrides, options.array, options.throttle)
    submission = submit_array(planned, cluster, options.runs_dir, after)
    return follow_array(submission, wait=options.wait, as_json=options.json)
