"""`ptycho-launch drill`: interrupt a short run, and see whether it resumes exactly."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from launcher.commands.arguments import chooses_cluster, draws_numbers, knows_runs, takes_config
from ptycho_dist.errors import EXIT_RUN_FAILED

if TYPE_CHECKING:
    from launcher.planning.plan import LaunchPlan
    from ptycho_dist.config.load import LoadedConfig

SUMMARY = "interrupt a short run with real signals and test that it resumes exactly"
EXAMPLE = "ptycho-launch drill run.yaml --ranks 2 --points random"


def arguments(command: argparse.ArgumentParser) -> None:
    """Take CONFIG, where to run, and how to interrupt."""
    takes_config(command)
    knows_runs(command)
    chooses_cluster(command)
    command.add_argument(
        "--ranks",
        metavar="N,...",
        help="world sizes, one drill for each (default: that of the config)",
    )
    command.add_argument(
        "--points",
        metavar="POINT,...",
        help="where to interrupt: mid-epoch, window (of accumulated micro-batches), epoch-end, "
        "validation, random (default: every point that the run has)",
    )
    command.add_argument(
        "--signal",
        choices=("USR2", "TERM"),
        default="USR2",
        help="signal that one rank receives (default: USR2)",
    )
    draws_numbers(command)
    command.add_argument(
        "--limit-s",
        type=float,
        default=1800,
        metavar="S",
        help="longest time that each run may take, in seconds (default: 1800)",
    )
    command.add_argument(
        "--keep", action="store_true", help="keep the runs even if the drill is passed"
    )


def run(options: argparse.Namespace) -> int:
    """Drill each world size; exit 0 if all passed."""
    from launcher.control.submit import choose_cluster
    from launcher.drill.drill import DrillRequest, run_drills
    from launcher.planning.load import load_and_plan

    def load(overrides: list[str]) -> tuple[LoadedConfig, LaunchPlan]:
        return load_and_plan(options, overrides)

    request = DrillRequest(
        cluster=choose_cluster(options.cluster),
        runs_root=options.runs_dir,
        ranks=options.ranks,
        points=options.points,
        signal=options.signal,
        seed=options.seed or 0,
        limit_s=options.limit_s,
        keep=options.keep,
    )
    passed = run_drills(request, load, partial(print, flush=True))
    return 0 if passed else EXIT_RUN_FAILED
