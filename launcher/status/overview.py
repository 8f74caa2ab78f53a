"""The states of many runs; SLURM is asked once for all of them."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable
from typing import Any

from launcher.slurm.jobs import Scheduler
from launcher.status.records import Records, read_records
from launcher.status.run_status import STATES, RunStatus, brief_status_of
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.layout import RunDirectory

_DATED = re.compile(r"-(\d{8}-\d{6})-[0-9a-f]{4}(\.\d{3,6})?$")


def overview(
    runs: Iterable[RunDirectory],
    states: Collection[str] = (),
    scheduler: Scheduler | None = None,
) -> list[RunStatus]:
    """The states of many runs, the newest last; a damaged one has the state `damaged`.

    Args:
        runs: their directories, in any order.
        states: the states that are wanted; empty: all.
        scheduler: asks SLURM about jobs, once for all runs; None: a new one.

    Raises:
        UserError: there is no such state.
    """
    for state in states:
        if state not in STATES:
            raise UserError(f"--state {state}: no such state; the states are {', '.join(STATES)}")
    statuses = statuses_of(sorted(runs, key=born), scheduler)
    return [status for status in statuses if not states or status.state in states]


def statuses_of(
    runs: Collection[RunDirectory], scheduler: Scheduler | None = None
) -> list[RunStatus]:
    """The state of each run, in the order of the runs; a damaged one has the state `damaged`.

    Args:
        runs: their directories.
        scheduler: asks SLURM about jobs, once for all runs; None: a new one.
    """
    scheduler = scheduler or Scheduler(every_s=60)
    found: list[Records | RunStatus] = []
    for run in runs:
        try:
            found.append(read_records(run, scheduler))
        except UserError as error:
            found.append(_damaged(run, error))
    records = [each for each in found if isinstance(each, Records)]
    scheduler.learn(each.job.job_id for each in records if each.job and each.asks_slurm)
    return [_judged(each, scheduler) if isinstance(each, Records) else each for each in found]


def overview_json(statuses: Collection[RunStatus]) -> list[dict[str, Any]]:
    """Plain data for `list --json`: what `status --json` says, without ranks and history."""
    entries = []
    for status in statuses:
        entry = status.to_json()
        del entry["ranks"], entry["ranks_planned"]
        entry["progress"].pop("patterns_per_s", None)  # a sum over ranks, of which one was read
        entries.append(entry)
    return entries


def _judged(records: Records, scheduler: Scheduler) -> RunStatus:
    try:
        return brief_status_of(records, scheduler)
    except UserError as error:
        return _damaged(records.run, error)


def _damaged(run: RunDirectory, error: UserError) -> RunStatus:
    return RunStatus(
        run_id=run.run_id, path=str(run.path), array_id=run.array_id, state="damaged",
        cause=str(error), said_by="run directory", cluster=None, job_id=None, attempts=0, ranks=[],
    )  # fmt: skip


def born(directory: RunDirectory | ArrayDirectory) -> tuple[str, str]:
    """A key that sorts runs and arrays by the time at which they were made.

    The time is that in the name, else that of the files.
    """
    name = directory.path.name
    match = _DATED.search(name)
    if match:
        return match[1], name
    is_run = isinstance(directory, RunDirectory)
    record = directory.path / ("run.json" if is_run else "array.json")
    try:
        made = time.localtime(record.stat().st_mtime)
    except OSError:
        return "", name
    return time.strftime("%Y%m%d-%H%M%S", made), name
