"""`ptycho-launch scale`: start a scaling study, or report on studies."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.commands.arguments import (
    asks_first,
    chooses_cluster,
    draws_numbers,
    knows_runs,
    sets_fields,
    speaks_json,
    waits,
)
from ptycho_dist.errors import UserError

if TYPE_CHECKING:
    from launcher.scaling.study.plan import PlannedStudy

SUMMARY = "run a scaling study: the same training at many sizes, measured"
EXAMPLE = "ptycho-launch scale run.yaml --nodes 1,2,4,8 --mode strong,weak --repeats 5"
_OF_ANY_ACTION = {"words", "runs_dir", "json", "deadline", "debug", "command", "parser"}
"""Options that belong to `report` and `compare` too; all others are about a new study."""


def arguments(command: argparse.ArgumentParser) -> None:
    """Take CONFIG with the sizes of a new study, or `report` or `compare` with studies."""
    command.add_argument(
        "words",
        nargs="+",
        metavar="WORD",
        help="CONFIG: start a new study of this run.yaml; report [STUDY]: write what a study has "
        "measured (default: the newest study); compare STUDY STUDY: print two studies side by side",
    )
    knows_runs(command)
    speaks_json(command)
    command.add_argument_group("what a report answers").add_argument(
        "--deadline",
        metavar="HH:MM:SS",
        help="find the cheapest size that trains the config within this time",
    )
    grid = command.add_argument_group("sizes of a new study")
    grid.add_argument("--nodes", metavar="N,...", help="numbers of nodes, such as 1,2,4,8")
    grid.add_argument(
        "--tasks-per-node",
        metavar="N,...",
        help="numbers of ranks per node, each with every number of nodes (default: that of the "
        "config)",
    )
    grid.add_argument(
        "--mode",
        metavar="MODE,...",
        help="strong (keeps the global batch), weak (keeps the batch per rank), or strong,weak "
        "(default: strong)",
    )
    grid.add_argument("--repeats", type=int, metavar="N", help="runs of each size (default: 5)")
    grid.add_argument(
        "--lr-rule",
        choices=("sqrt", "linear", "none"),
        help="in weak scaling, how the learning rate follows the global batch (default: sqrt)",
    )
    sets_fields(grid)
    measured = command.add_argument_group("how long each run measures")
    measured.add_argument(
        "--steps", type=int, metavar="N", help="for N optimizer steps (default: 30)"
    )
    measured.add_argument("--seconds", type=float, metavar="S", help="for S seconds of steps")
    measured.add_argument(
        "--target-loss", type=float, metavar="L", help="until the loss of an epoch is L or less"
    )
    measured.add_argument(
        "--warm-up", type=int, metavar="N", help="leave the first N steps out (default: 5)"
    )
    job = command.add_argument_group("how the runs are submitted")
    chooses_cluster(job)
    job.add_argument(
        "--at-once",
        type=int,
        metavar="N",
        help="let N runs run at the same time, which may disturb each other (default: 1)",
    )
    draws_numbers(job)
    asks_first(job)
    waits(job)


def run(options: argparse.Namespace) -> int:
    """Start a new study, or write a report or a comparison of studies."""
    action = options.words[0]
    if action in ("report", "compare"):
        from launcher.commands import scale_report

        _refuse_flags_of_a_new_study(options)
        return scale_report.report(options) if action == "report" else scale_report.compare(options)
    if options.deadline is not None:
        raise UserError("--deadline belongs to `scale report`, not to `scale CONFIG`")
    if len(options.words) > 1:
        raise UserError(
            f"scale: one CONFIG is expected, found {' '.join(options.words)}; the other forms are "
            "`scale report [STUDY]` and `scale compare STUDY STUDY`"
        )
    return _new_study(options, Path(action))


def _refuse_flags_of_a_new_study(options: argparse.Namespace) -> None:
    for name, value in vars(options).items():
        if name not in _OF_ANY_ACTION and value not in (None, False, []):
            flag = "--set" if name == "overrides" else f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} belongs to `scale CONFIG`, not to `scale {options.words[0]}`")


def _new_study(options: argparse.Namespace, config: Path) -> int:
    from launcher.commands.following import follow_array
    from launcher.control.submit import choose_cluster
    from launcher.scaling.study.plan import plan_study
    from launcher.scaling.study.preview import show_preview
    from launcher.scaling.study.request import parse_request
    from launcher.scaling.study.submit import submit_study
    from launcher.text.console import console

    cluster = choose_cluster(options.cluster)
    request = parse_request(
        nodes=options.nodes,
        tasks_per_node=options.tasks_per_node,
        mode=options.mode,
        repeats=options.repeats,
        steps=options.steps,
        seconds=options.seconds,
        target_loss=options.target_loss,
        warm_up=options.warm_up,
        lr_rule=options.lr_rule,
        seed=options.seed,
        at_once=options.at_once,
        cluster=cluster,
    )
    planned = plan_study(config, options.overrides, request, cluster, options.runs_dir)
    show_preview(planned, console(stderr=options.json))
    if not options.yes and not _confirmed(planned):
        print("nothing was submitted", file=sys.stderr)
        return 0
    submission = submit_study(planned, cluster, options.runs_dir)
    return follow_array(submission, wait=options.wait, as_json=options.json)


def _confirmed(planned: PlannedStudy) -> bool:
    if not sys.stdin.isatty():
        raise UserError("scale asks before it submits, and stdin is not a terminal; add --yes")
    cost = f"at most {planned.node_hours:.3g} node-hours"
    question = f"Submit {len(planned.members)} runs, {cost}? [y/N] "
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
