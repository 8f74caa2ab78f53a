"""Runs a short training twice, once interrupted by real signals, and compares the two ends."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from launcher.control.changes import Changes
from launcher.control.resume import resume
from launcher.control.submit import submit
from launcher.drill.points import Interruption, applicable_points, interruptions, short_run
from launcher.planning.plan import LaunchPlan
from launcher.slurm.jobs import Scheduler
from launcher.status.next_command import reference_to
from launcher.status.result import read_metrics
from launcher.status.run_status import RunStatus, status_of
from ptycho_dist.attempts.record import attempt_numbers
from ptycho_dist.config.load import LoadedConfig
from ptycho_dist.config.world import World
from ptycho_dist.errors import UserError
from ptycho_dist.proof.verify import verify
from ptycho_dist.rundir.drill_trace import (
    SIGNAL,
    differences,
    lost_in_resume,
    read_trace,
    without_clock,
)
from ptycho_dist.rundir.files import read_json
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import read_ledger

POLL_S = 0.3
"""Seconds between two looks at a run that is not over."""
SHOWN = 20
"""Number of differences that are printed; more are counted."""
_POLL_SLURM_S = 2.0
"""Seconds after which SLURM is asked again."""


@dataclass(frozen=True)
class Interrupted:
    """What one interruption led to."""

    interruption: Interruption
    step: int
    """Optimizer step at which all ranks stopped."""
    seconds: float
    """Seconds from the signal to the durable checkpoint."""


@dataclass(frozen=True)
class DrillResult:
    """What a drill has shown."""

    lost: tuple[str, ...]
    """State that differs from the uninterrupted run, causes first; empty: the drill is passed."""
    interrupted: tuple[Interrupted, ...]
    lead_s: int
    """Lead of the stop signal before the end of the walltime, in seconds."""
    runs: tuple[RunDirectory, RunDirectory]
    """The uninterrupted run and the interrupted one."""


@dataclass(frozen=True)
class DrillRequest:
    """What was asked for on the command line."""

    cluster: str
    """`slurm` or `local`."""
    runs_root: Path
    """The directory that receives the runs."""
    ranks: str | None
    """World sizes, separated by commas; None: that of the config."""
    points: str | None
    """Names from POINTS, separated by commas; None: all that the run has."""
    signal: str
    """`USR2` or `TERM`."""
    seed: int
    """Seed of the random point."""
    limit_s: float
    """Longest time that each run may take, in seconds."""
    keep: bool
    """Whether the runs stay although the drill was passed."""


def run_drills(
    request: DrillRequest,
    load: Callable[[list[str]], tuple[LoadedConfig, LaunchPlan]],
    say: Callable[[str], None],
) -> bool:
    """Drill each world size; the last line is `PASS`, or `FAIL` and the state that was lost.

    Args:
        request: what was asked for.
        load: gives the config and its plan for overrides as `--set` takes them.
        say: prints a line.

    Returns:
        Whether all drills were passed.

    Raises:
        UserError: the run has no such point or world size, or does not end as it should.
    """
    whole = load([])[1].world
    passed = True
    for sizes in _world_sizes(request, whole):
        loaded, plan = load(sizes)
        validates = loaded.config.data.test_data_file is not None
        points = applicable_points(plan.world, validates=validates)
        if request.points is not None:
            points = request.points.split(",")
        loaded, plan = load([*sizes, *short_run(plan.world, points)])
        wanted = list(
            interruptions(
                plan.world,
                points,
                f"SIG{request.signal}",
                validates=validates,
                seed=request.seed,
            )
        )
        say(
            f"{plan.world.ranks} ranks ({request.cluster}), {plan.world.total_steps} steps, "
            f"{loaded.config.execution.num_workers} workers: {len(wanted)} interruptions"
        )
        result = drill(loaded, plan, request, wanted, say=say)
        passed = passed and not result.lost
        _show(result, request.keep, say)
    return passed


def _world_sizes(request: DrillRequest, world: World) -> list[list[str]]:
    """The overrides that give each of the world sizes."""
    if request.ranks is None:
        return [[]]
    sizes = []
    for text in request.ranks.split(","):
        if not text.strip().isdecimal() or int(text) < 1:
            raise UserError(f"--ranks {request.ranks}: expected whole numbers, separated by commas")
        ranks = int(text)
        tasks = ranks if request.cluster == "local" else min(ranks, world.tasks_per_node)
        if ranks % tasks:
            raise UserError(
                f"--ranks {ranks}: not a multiple of the {tasks} tasks per node of the config"
            )
        sizes.append([f"resources.nodes={ranks // tasks}", f"resources.tasks_per_node={tasks}"])
    return sizes


def _show(result: DrillResult, keep: bool, say: Callable[[str], None]) -> None:
    seconds = [each.seconds for each in result.interrupted]
    if seconds:
        say(
            f"signal to durable checkpoint: median {median(seconds):.2f} s, maximum "
            f"{max(seconds):.2f} s; the lead is {result.lead_s} s"
        )
    if not result.lost:
        if not keep:
            remove(result)
        say("PASS")
        return
    for item in result.lost[:SHOWN]:
        say(f"differs: {item}")
    if len(result.lost) > SHOWN:
        say(f"and {len(result.lost) - SHOWN} more")
    say(f"runs: {result.runs[0].path} {result.runs[1].path}")
    say(f"FAIL: {result.lost[0]}")


def drill(
    loaded: LoadedConfig,
    plan: LaunchPlan,
    request: DrillRequest,
    wanted: Sequence[Interruption],
    *,
    say: Callable[[str], None],
) -> DrillResult:
    """Run a short training without and with interruptions, and compare the two.

    Args:
        loaded: config of the short run.
        plan: its plan.
        request: where to run, and how long each run may take.
        wanted: the interruptions, in order.
        say: prints a line.

    Raises:
        UserError: the uninterrupted run fails, or a run does not end in time; its directory stays.
    """
    cluster, runs_root, limit_s = request.cluster, request.runs_root, request.limit_s
    quiet = replace(plan, drill={"interruptions": []})
    reference = submit(loaded, quiet, cluster, runs_root).run
    status = _over(reference, limit_s)
    if status.state != "finished":
        raise UserError(
            f"{reference.run_id} is {status.state}: {status.cause}; "
            f"see: ptycho-launch logs {reference_to(reference.path)}"
        )
    say(f"uninterrupted: finished after {plan.world.total_steps} steps")
    noisy = replace(plan, drill={"interruptions": [each.to_json() for each in wanted]})
    run = submit(loaded, noisy, cluster, runs_root).run
    done: list[Interrupted] = []
    for interruption in wanted:
        status = _over(run, limit_s)
        if status.state != "stopped":
            say(f"not interrupted ({interruption}): {status.state}; {status.cause}")
            return DrillResult(
                (*compare(reference, run), f"the end of attempt {interruption.attempt}"),
                tuple(done),
                plan.signal_lead_s,
                (reference, run),
            )
        done.append(_interrupted(run, interruption))
        say(
            f"{interruption}: all ranks stopped at step {done[-1].step}; "
            f"{done[-1].seconds:.2f} s from the signal to the durable checkpoint"
        )
        resume(run, cluster, Changes())
    status = _over(run, limit_s)
    if status.state != "finished":
        say(f"{run.run_id} is {status.state}: {status.cause}")
    return DrillResult(compare(reference, run), tuple(done), plan.signal_lead_s, (reference, run))


def compare(reference: RunDirectory, run: RunDirectory) -> tuple[str, ...]:
    """List the state in which an interrupted run differs from the uninterrupted one.

    Args:
        reference: the uninterrupted run.
        run: the interrupted one.

    Returns:
        One text for each difference, causes first; empty: the two are the same.
    """
    attempts, ranks = len(attempt_numbers(run)), run.world().ranks
    lost = [*lost_in_resume(run, attempts, ranks), *differences(reference, run, attempts, ranks)]
    if not run.result_json.exists():
        return (*lost, f"the end: attempt {attempts} did not finish")
    if _best(reference) != _best(run):
        lost.append(f"best metric ({_best(reference)} became {_best(run)})")
    if _table(reference) != _table(run):
        lost.append("rows of metrics.csv")
    lost += [f"ledger: {fault}" for fault in verify(run).faults]
    return tuple(lost)


def remove(result: DrillResult) -> None:
    """Remove the two runs of a drill."""
    for run in result.runs:
        shutil.rmtree(run.path, ignore_errors=True)


def _over(run: RunDirectory, limit_s: float) -> RunStatus:
    """Wait until a run is over, and return how it ended."""
    scheduler = Scheduler(_POLL_SLURM_S)
    deadline = time.monotonic() + limit_s
    while not (status := status_of(run, scheduler)).over:
        if time.monotonic() > deadline:
            raise UserError(
                f"{run.run_id} is still {status.state} after {limit_s:.0f} s ({status.cause}); "
                f"see: ptycho-launch logs {reference_to(run.path)}"
            )
        time.sleep(POLL_S)
    return status


def _interrupted(run: RunDirectory, interruption: Interruption) -> Interrupted:
    """Read from ledger and trace what an interruption led to."""
    number = interruption.attempt
    events = read_ledger(run, number)
    (step,) = {event["step"] for event in events if event["event"] == "stopped"}
    commits = [event["time"] for event in events if event["event"] == "checkpoint_committed"]
    signalled = [
        event["time"]
        for event in read_trace(run, number, interruption.rank)
        if event["kind"] == SIGNAL
    ]
    if not commits or not signalled:
        raise UserError(f"{run.run_id}: attempt {number} stopped, but not by {interruption}")
    return Interrupted(interruption, step, max(0.0, max(commits) - signalled[0]))


def _table(run: RunDirectory) -> list[dict[str, str]]:
    return [without_clock(row) for row in read_metrics(run.metrics / "metrics.csv")]


def _best(run: RunDirectory) -> Any:
    return read_json(run.result_json)["best"]["value"]
