"""`ptycho-launch scale`: a scaling study as one object."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.commands.arguments import chooses_cluster, knows_runs, sets_fields, speaks_json, waits
from ptycho_dist.errors import UserError

if TYPE_CHECKING:
    from launcher.scaling.study.plan import PlannedStudy

SUMMARY = "a scaling study: the same training at many sizes, measured"
EXAMPLE = "ptycho-launch scale run.yaml --nodes 1,2,4,8 --mode strong,weak --repeats 5"
_OF_A_NEW_STUDY = (
    *("nodes", "tasks_per_node", "mode", "repeats", "steps", "seconds", "target_loss", "warm_up"),
    *("lr_rule", "seed", "at_once", "cluster", "wait", "yes", "overrides"),
)


def arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "words",
        nargs="+",
        metavar="WORD",
        help="CONFIG: a new study of this run.yaml; report STUDY, or compare A B: what studies "
        "have shown",
    )
    knows_runs(command)
    speaks_json(command)
    command.add_argument_group("what a report answers").add_argument(
        "--deadline", metavar="HH:MM:SS", help="the cheapest size that trains the config in this "
        "time",
    )  # fmt: skip
    grid = command.add_argument_group("sizes of a new study")
    grid.add_argument("--nodes", metavar="N,...", help="numbers of nodes: 1,2,4,8")
    grid.add_argument(
        "--tasks-per-node", metavar="N,...", help="ranks per node, each with all numbers of nodes "
        "(default: as in the config)",
    )  # fmt: skip
    grid.add_argument(
        "--mode", metavar="MODE,...", help="strong (the global batch is kept), weak (the batch per "
        "rank is kept), or strong,weak (default: strong)",
    )  # fmt: skip
    grid.add_argument("--repeats", type=int, metavar="N", help="runs of each size (default: 5)")
    grid.add_argument(
        "--lr-rule",
        choices=("sqrt", "linear", "none"),
        help="of weak scaling: how the learning rate follows the global batch (default: sqrt)",
    )
    sets_fields(grid)
    measured = command.add_argument_group("what each of its runs measures")
    measured.add_argument("--steps", type=int, metavar="N", help="N optimizer steps (default: 30)")
    measured.add_argument("--seconds", type=float, metavar="S", help="as many as S seconds hold")
    measured.add_argument(
        "--target-loss", type=float, metavar="L", help="as many as an epoch's loss of L needs"
    )
    measured.add_argument(
        "--warm-up", type=int, metavar="N", help="steps before that do not count (default: 5)"
    )
    job = command.add_argument_group("how they are run")
    chooses_cluster(job, "slurm where sbatch is on PATH, else local")
    job.add_argument(
        "--at-once", type=int, metavar="N", help="runs beside each other, which may disturb each "
        "other (default: 1)",
    )  # fmt: skip
    job.add_argument("--seed", type=int, metavar="N", help="of the order of the runs (default: 0)")
    job.add_argument("--yes", action="store_true", help="do not ask before submitting")
    waits(job)


def run(options: argparse.Namespace) -> int:
    action = options.words[0]
    if action in ("report", "compare"):
        from launcher.commands import scale_report

        _refuse_flags_of_a_new_study(options)
        return scale_report.report(options) if action == "report" else scale_report.compare(options)
    if options.deadline is not None:
        raise UserError("--deadline: belongs to `scale report STUDY`, not to `scale CONFIG`")
    if len(options.words) > 1:
        raise UserError(f"scale {action} {options.words[1]}: one CONFIG is expected")
    return _new_study(options, Path(action))


def _refuse_flags_of_a_new_study(options: argparse.Namespace) -> None:
    for name in _OF_A_NEW_STUDY:
        if getattr(options, name) not in (None, False, []):
            flag = "--set" if name == "overrides" else f"--{name.replace('_', '-')}"
            raise UserError(f"{flag}: belongs to `scale CONFIG`, not to `scale {options.words[0]}`")


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
        raise UserError("scale asks before it submits, and this is no terminal; add --yes")
    cost = f"at most {planned.node_hours:.3g} node-hours"
    question = f"Submit {len(planned.members)} runs, {cost}? [y/N] "
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
