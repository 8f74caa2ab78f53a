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
from launcher.earlier import measured_before
from launcher.parser import build_parser
from launcher.plan import LaunchPlan, make_plan
from launcher.render import render
from launcher.site_notes import site_notes
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

RUN_ID_PLACEHOLDER = "RUN-ID"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done; 1 the run failed; 2 the user's mistake; 3 the cluster cannot be reached;
        130 interrupted by Ctrl-C.
    """
    options = build_parser().parse_args(arguments)
    return one_line_errors(options.debug, lambda: COMMANDS[options.command](options))


def _load_and_plan(
    options: argparse.Namespace, overrides: Sequence[str] = ()
) -> tuple[LoadedConfig, LaunchPlan]:
    """The config and its plan, or one error with every fault of the config and its files."""
    read = read_run_config(options.config, [*options.overrides, *overrides])
    facts, faults = {}, list(read.faults)
    for field, path in read.data_files.items():
        try:
            facts[field] = read_data_facts(path)
        except DataError as error:
            faults.append(Fault(f"data.{field}", str(error)))
    if read.loaded is None:
        raise ConfigError(read.source, faults)
    train, test = facts.get("train_data_file"), facts.get("test_data_file")
    runs_root = getattr(options, "runs_dir", None)
    measured = measured_before(runs_root, read.loaded.config) if runs_root else None
    return read.loaded, make_plan(read.loaded, train, test, faults, measured)


def _validate(options: argparse.Namespace) -> int:
    _, plan = _load_and_plan(options)
    print(f"{options.config}: valid; {plan.world.ranks} ranks, {plan.world.total_steps} steps")
    return 0


def _plan(options: argparse.Namespace) -> int:
    _, plan = _load_and_plan(options)
    placeholder = Path(os.path.abspath(options.runs_dir)) / f"{plan.name}-{RUN_ID_PLACEHOLDER}"  # noqa: PTH100
    script = render(plan, placeholder)
    notes = site_notes(plan)
    if options.json:
        print(json.dumps({**plan.to_json(), "notes": notes, "script": script}, indent=2))
    else:
        present.show_plan(plan, notes, script, Console(soft_wrap=True))
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
    from launcher.resume import Changes, resume

    changes = Changes(options.overrides, options.allow_resize, options.moved)
    run = find_run(options.runs_dir, options.run)
    return _after(resume(run, options.cluster, changes), options)


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


def _verify(options: argparse.Namespace) -> int:
    from launcher.verify import proof_lines
    from ptycho_dist.rundir.verify import verify

    proof = verify(find_run(options.runs_dir, options.run))
    if options.json:
        print(json.dumps(proof.to_json(), indent=2))
    else:
        print("\n".join(proof_lines(proof)))
    return 0 if proof.proven else EXIT_RUN_FAILED


def _drill(options: argparse.Namespace) -> int:
    from launcher.drill import Request, run_drills
    from launcher.submit import choose_cluster

    def load(overrides: list[str]) -> tuple[LoadedConfig, LaunchPlan]:
        return _load_and_plan(options, overrides)

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


def _cancel(options: argparse.Namespace) -> int:
    from launcher.cancel import cancel

    status = cancel(find_run(options.runs_dir, options.run))
    print(f"{status.run_id}: {status.state}; {status.cause}")
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "validate": _validate,
    "plan": _plan,
    "script": _script,
    "submit": _submit,
    "status": _status,
    "list": _list,
    "logs": _logs,
    "verify": _verify,
    "drill": _drill,
    "cancel": _cancel,
    "resume": _resume,
}
