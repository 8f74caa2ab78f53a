"""`ptycho-launch drill`: interrupt a short run, and see that it resumes exactly."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from launcher.commands.arguments import chooses_cluster, knows_runs, takes_config
from ptycho_dist.errors import EXIT_RUN_FAILED

if TYPE_CHECKING:
    from launcher.planning.plan import LaunchPlan
    from ptycho_dist.config.load import LoadedConfig

SUMMARY = "interrupt a short run with real signals: does it resume exactly?"
EXAMPLE = "ptycho-launch drill run.yaml --cluster local --ranks 2 --points mid-epoch,validation"


def arguments(command: argparse.ArgumentParser) -> None:
    takes_config(command)
    knows_runs(command)
    chooses_cluster(command, "as submit")
    command.add_argument(
        "--ranks", metavar="N,...", help="world sizes, one drill each (default: that of the config)"
    )
    command.add_argument(
        "--points",
        metavar="POINT,...",
        help="where to interrupt: mid-epoch, window (of accumulated micro-batches), epoch-end, "
        "validation, random (default: all that the run has)",
    )
    command.add_argument(
        "--signal",
        choices=("USR2", "TERM"),
        default="USR2",
        help="sent to one rank (default: USR2)",
    )
    command.add_argument("--seed", type=int, default=0, help="of the random point (default: 0)")
    command.add_argument(
        "--limit-s", type=float, default=1800, metavar="S", help="for each run (default: 1800)"
    )
    command.add_argument("--keep", action="store_true", help="keep the runs of a drill that passed")


def run(options: argparse.Namespace) -> int:
    from launcher.control.submit import choose_cluster
    from launcher.drill.drill import Request, run_drills
    from launcher.planning.load import load_and_plan

    def load(overrides: list[str]) -> tuple[LoadedConfig, LaunchPlan]:
        return load_and_plan(options, overrides)

    request = Request(
        cluster=choose_cluster(options.cluster),
        runs_root=options.runs_dir,
        ranks=options.ranks,
        points=options.points,
        signal=options.signal,
        seed=options.seed,
        limit_s=options.limit_s,
        keep=options.keep,
    )
    passed = run_drills(request, load, partial(print, flush=True))
    return 0 if passed else EXIT_RUN_FAILED
