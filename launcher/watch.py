"""Watching a run to its end: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from launcher.scheduler import Scheduler
from launcher.status import RunStatus, status_of
from ptycho_dist.rundir import RunDirectory

POLL_S = 0.5
ASK_SCHEDULER_S = 8.0
"""How often SLURM is asked while the run directory says nothing of an end."""


def watch(run: RunDirectory, console: Console) -> RunStatus:
    """Show a run until it is over; returns its last status. Ctrl-C ends the watching alone."""
    if console.is_terminal:
        return _bar(run, console)
    return _lines(run, console)


def _states(run: RunDirectory) -> Iterator[RunStatus]:
    scheduler = Scheduler(ASK_SCHEDULER_S)
    while True:
        status = status_of(run, scheduler)
        yield status
        if status.over:
            return
        time.sleep(POLL_S)


def _bar(run: RunDirectory, console: Console) -> RunStatus:
    total = run.world().total_steps
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=False) as progress:
        task = progress.add_task(run.run_id, total=total, figures="")
        for status in _states(run):
            progress.update(
                task,
                description=_phase(status),
                completed=total if status.state == "finished" else status.progress.get("step", 0),
                figures=_figures(status),
            )
    return status


def _lines(run: RunDirectory, console: Console) -> RunStatus:
    said = ""
    for status in _states(run):
        phase = _phase(status)
        if phase != said:
            said = phase
            step = status.progress.get("step", 0)
            line = f"{phase}  step {step}/{run.world().total_steps}  {_figures(status)}"
            console.print(line.rstrip(), highlight=False, soft_wrap=True)
    return status


def _phase(status: RunStatus) -> str:
    """`epoch 3/20`, or what the run is doing while there is no epoch to name."""
    progress = status.progress
    if not status.over:
        of_ranks = {rank.state for rank in status.ranks}
        if "reconstructing" in of_ranks:
            return "reconstructing"
        if "finished" in of_ranks:
            return "finishing"
    if status.over or status.state == "pending" or "epoch" not in progress:
        starting = status.state == "running" and "epoch" not in progress
        return "starting" if starting else status.state
    return f"epoch {min(progress['epoch'] + 1, progress['epochs'])}/{progress['epochs']}"


def _figures(status: RunStatus) -> str:
    progress = status.progress
    loss, rate = progress.get("loss"), progress.get("patterns_per_s")
    words = [f"loss {loss:.5g}" if loss is not None else ""]
    words.append(f"{rate:.1f} patterns/s" if rate is not None else "")
    return "  ".join(word for word in words if word)
