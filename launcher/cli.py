"""The command `ptycho-launch`: parse, call one function, print."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from launcher import present
from launcher.data_facts import read_data_facts
from launcher.plan import LaunchPlan, make_plan
from launcher.render import render
from ptycho_dist.config.load import ConfigError, Fault, LoadedConfig, read_run_config
from ptycho_dist.errors import (
    EXIT_INTERRUPTED,
    EXIT_RUN_FAILED,
    DataError,
    UserError,
    one_line_errors,
)
from ptycho_dist.rundir.layout import find_run, list_runs

if TYPE_CHECKING:  # submitit takes a fifth of a second, and most commands do without
    from launcher.submit import Submission

EXAMPLES = {
    "validate": "ptycho-launch validate run.yaml",
    "plan": "ptycho-launch plan run.yaml --set resources.nodes=4 --json",
    "script": "ptycho-launch script run.yaml > job.sbatch && sbatch job.sbatch",
    "submit": "ptycho-launch submit run.yaml --cluster local --wait",
    "status": "ptycho-launch status fly64-20260714-101500-3f9a",
    "list": "ptycho-launch list --json",
    "logs": "ptycho-launch logs fly64-20260714-101500-3f9a --rank 0 -f",
    "cancel": "ptycho-launch cancel fly64-20260714-101500-3f9a",
    "resume": "ptycho-launch resume fly64-20260714-101500-3f9a --wait",
}
RUN_ID_PLACEHOLDER = "RUN-ID"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done; 1 the run failed; 2 the user's mistake; 3 the cluster cannot be reached;
        130 interrupted by Ctrl-C.
    """
    options = build_parser().parse_args(arguments)
    return one_line_errors(options.debug, lambda: int(options.command(options)))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ptycho-launch",
        description="Train physics-informed ptychography networks, on this machine or on SLURM.",
        epilog="Exit codes: 0 done, 1 the run failed, 2 your mistake, 3 cluster unreachable.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function: object, summary: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=f"Example: {EXAMPLES[name]}",
        )
        command.set_defaults(command=function)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        return command

    def takes_config(command: argparse.ArgumentParser) -> None:
        command.add_argument("config", type=Path, metavar="CONFIG", help="run.yaml")
        command.add_argument(
            "--set",
            action="append",
            default=[],
            dest="overrides",
            metavar="SECTION.FIELD=VALUE",
            help="override one value (repeatable)",
        )

    def knows_runs(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--runs-dir",
            type=Path,
            default=Path(os.environ.get("PTYCHO_DIST_RUNS_DIR", "runs")),
            metavar="DIR",
            help="where run directories are (default: $PTYCHO_DIST_RUNS_DIR, else ./runs)",
        )

    def takes_run(command: argparse.ArgumentParser) -> None:
        command.add_argument("run", metavar="RUN", help="run id, its beginning, or its directory")
        knows_runs(command)

    def chooses_cluster(command: argparse.ArgumentParser, otherwise: str) -> None:
        command.add_argument(
            "--cluster", choices=("slurm", "local"), help=f"where to run (default: {otherwise})"
        )
        command.add_argument(
            "--wait", action="store_true", help="show progress; exit 0 when finished, else 1"
        )

    def speaks_json(command: argparse.ArgumentParser) -> None:
        command.add_argument("--json", action="store_true", help="machine-readable output")

    command = add("validate", _validate, "check a config and name every fault")
    takes_config(command)
    command = add("plan", _plan, "show what would be submitted, and submit nothing")
    takes_config(command)
    knows_runs(command)
    speaks_json(command)
    command = add("script", _script, "make the run directory and print its sbatch script")
    takes_config(command)
    knows_runs(command)
    command = add("submit", _submit, "submit a run")
    takes_config(command)
    knows_runs(command)
    chooses_cluster(command, "slurm where sbatch is on PATH, else local")
    speaks_json(command)
    command = add("status", _status, "show what a run is doing")
    takes_run(command)
    speaks_json(command)
    command.add_argument("--watch", action="store_true", help="go on until the run is over")
    command = add("list", _list, "list the runs")
    knows_runs(command)
    speaks_json(command)
    command = add("logs", _logs, "print what the ranks said")
    takes_run(command)
    command.add_argument("--rank", type=int, help="one rank alone (default: all)")
    command.add_argument("-f", "--follow", action="store_true", help="go on until the run is over")
    command = add("cancel", _cancel, "end a run: checkpoint if it can, within 30 s in any case")
    takes_run(command)
    command = add("resume", _resume, "go on with a stopped run from its newest checkpoint")
    takes_run(command)
    chooses_cluster(command, "the same as before")
    speaks_json(command)
    return parser


def _load_and_plan(options: argparse.Namespace) -> tuple[LoadedConfig, LaunchPlan]:
    """The config and its plan, or one error with every fault of the config and its files."""
    read = read_run_config(options.config, options.overrides)
    facts, faults = {}, list(read.faults)
    for field, path in read.data_files.items():
        try:
            facts[field] = read_data_facts(path)
        except DataError as error:
            faults.append(Fault(f"data.{field}", str(error)))
    if read.loaded is None:
        raise ConfigError(read.source, faults)
    train, test = facts.get("train_data_file"), facts.get("test_data_file")
    return read.loaded, make_plan(read.loaded, train, test, faults)


def _validate(options: argparse.Namespace) -> int:
    _, plan = _load_and_plan(options)
    print(f"{options.config}: valid; {plan.world.ranks} ranks, {plan.world.total_steps} steps")
    return 0


def _plan(options: argparse.Namespace) -> int:
    _, plan = _load_and_plan(options)
    placeholder = Path(os.path.abspath(options.runs_dir)) / f"{plan.name}-{RUN_ID_PLACEHOLDER}"  # noqa: PTH100
    script = render(plan, placeholder)
    if options.json:
        print(json.dumps({**plan.to_json(), "script": script}, indent=2))
    else:
        present.show_plan(plan, script, Console(soft_wrap=True))
    return 0


def _script(options: argparse.Namespace) -> int:
    from launcher.submit import prepare

    run = prepare(*_load_and_plan(options), options.runs_dir)
    print(f"prepared {run.path}; hand the script to sbatch to start it", file=sys.stderr)
    sys.stdout.write(run.script.read_text("utf-8"))
    return 0


def _submit(options: argparse.Namespace) -> int:
    from launcher.submit import choose_cluster, submit

    loaded, plan = _load_and_plan(options)
    submission = submit(loaded, plan, choose_cluster(options.cluster), options.runs_dir)
    return _after(submission, options)


def _resume(options: argparse.Namespace) -> int:
    from launcher.submit import resume

    return _after(resume(find_run(options.runs_dir, options.run), options.cluster), options)


def _after(submission: Submission, options: argparse.Namespace) -> int:
    """Say what was submitted; with --wait, stay until it is over."""
    from launcher.watch import watch

    run = submission.run
    identity = {
        "run_id": run.run_id,
        "job_id": submission.job_id,
        "cluster": submission.cluster,
        "path": str(run.path),
    }
    messages = Console(stderr=options.json, soft_wrap=not sys.stdout.isatty())
    if options.json and not options.wait:
        print(json.dumps(identity, indent=2))
        return EXIT_INTERRUPTED if submission.interrupted else 0
    say = partial(messages.print, highlight=False, markup=False)
    say(f"submitted {run.run_id} ({submission.cluster} job {submission.job_id})")
    say(f"directory: {run.path}")
    if submission.interrupted:
        return _goes_on(run.run_id, say)
    if not options.wait:
        say(f"follow it: ptycho-launch status {run.run_id} --watch")
        return 0
    try:
        status = watch(run, messages)
    except KeyboardInterrupt:
        return _goes_on(run.run_id, say)
    if options.json:
        print(json.dumps({**identity, "status": status.to_json()}, indent=2))
    if status.state == "finished":
        present.show_result(run, messages)
        return 0
    say(f"{status.state}: {status.cause}")
    say(f"see: ptycho-launch logs {run.run_id}")
    return EXIT_RUN_FAILED


def _goes_on(run_id: str, say: Callable[[str], None]) -> int:
    say("")
    say(f"the run goes on. Come back: ptycho-launch status {run_id} --watch")
    say(f"                 end it:    ptycho-launch cancel {run_id}")
    return EXIT_INTERRUPTED


def _status(options: argparse.Namespace) -> int:
    from launcher.status import status_of
    from launcher.watch import watch

    run = find_run(options.runs_dir, options.run)
    console = Console(stderr=options.json)
    status = watch(run, console) if options.watch else status_of(run)
    if options.json:
        print(json.dumps(status.to_json(), indent=2))
    else:
        present.show_status(status, console)
    return 0


def _list(options: argparse.Namespace) -> int:
    from launcher.scheduler import Scheduler
    from launcher.status import status_of

    scheduler = Scheduler(every_s=60)
    scheduler.learn_all_of_mine()
    statuses = []
    for run in list_runs(options.runs_dir):
        try:
            statuses.append(status_of(run, scheduler))
        except UserError as error:  # one damaged run must not hide the others
            print(f"warning: {error}", file=sys.stderr)
    if options.json:
        print(json.dumps([status.to_json() for status in statuses], indent=2))
    elif statuses:
        present.show_list(statuses, Console())
    else:
        print(f"no runs in {options.runs_dir}")
    return 0


def _logs(options: argparse.Namespace) -> int:
    from launcher.logs import log_lines

    run = find_run(options.runs_dir, options.run)
    for line in log_lines(run, options.rank, options.follow):
        print(line, flush=options.follow)
    return 0


def _cancel(options: argparse.Namespace) -> int:
    from launcher.cancel import cancel

    status = cancel(find_run(options.runs_dir, options.run))
    print(f"{status.run_id}: {status.state}; {status.cause}")
    return 0
