"""Watches a run to its end: with a live table on a terminal, with a line per change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from launcher.slurm.jobs import Scheduler
from launcher.status.present import eta_words, missing_ranks, ranks_table, title
from launcher.status.run_status import RunStatus, status_of
from launcher.text.plain_text import plain
from launcher.watching.log_files import last_line
from ptycho_dist.rundir.checked_json import count, number
from ptycho_dist.rundir.layout import RunDirectory

POLL_S = 0.5
BUSY = 0.1
"""Share of the time spent reading the run directory; with many ranks it is read less often."""
ASK_SCHEDULER_S = 8.0
"""Seconds between questions to SLURM while the run directory records no end."""
_REMARKS = 2
_OTHER_LINES = 11
"""Lines of the live table besides the ranks, if each remark fills two lines."""


def watch(run: RunDirectory, console: Console) -> RunStatus:
    """Show a run until it is over, and return its last status. Ctrl-C only ends the watching.

    Raises:
        UserError: the run directory is damaged.
    """
    if console.is_terminal:
        return _live(run, console)
    return _lines(run, console)


def _states(run: RunDirectory) -> Iterator[RunStatus]:
    scheduler = Scheduler(ASK_SCHEDULER_S)
    while True:
        began = time.monotonic()
        status = status_of(run, scheduler)
        yield status
        if status.over:
            return
        time.sleep(max(POLL_S, (time.monotonic() - began) * (1 - BUSY) / BUSY))


def _live(run: RunDirectory, console: Console) -> RunStatus:
    total = run.world().total_steps
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for status in _states(run):
            live.update(_view(run, status, total, console.height), refresh=True)
    return status


def _view(run: RunDirectory, status: RunStatus, total: int, height: int) -> RenderableType:
    """The status at one moment, no higher than the terminal."""
    step = total if status.state == "finished" else count(status.progress, "step") or 0
    bar = Table.grid(padding=(0, 1), expand=True)
    for ratio in (None, 1, None):
        bar.add_column(ratio=ratio, no_wrap=True)
    bar.add_row(_phase(status), ProgressBar(total=total, completed=step), f"{step}/{total}")
    parts: list[RenderableType] = [_cut(title(status)), bar]
    if status.state != "running":
        parts.append(_cut(Text(f"{plain(status.cause)} [source: {status.said_by}]")))
    if figures := _figures(status):
        parts.append(_cut(Text(figures)))
    if missing := missing_ranks(status):
        parts.append(_cut(Text(missing, style="yellow")))
    if status.ranks:
        parts.append(ranks_table(status, max(1, height - _OTHER_LINES), _REMARKS))
    line = last_line(run, status.attempts)
    if line:
        parts.append(_cut(Text(line, style="dim")))
    return Group(*parts)


def _cut(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _lines(run: RunDirectory, console: Console) -> RunStatus:
    said = ""
    total = run.world().total_steps
    for status in _states(run):
        phase = _phase(status)
        if phase != said:
            said = phase
            step = count(status.progress, "step") or 0
            line = f"{phase}  step {step}/{total}  {_figures(status)}"
            console.print(Text(line.rstrip()), soft_wrap=True)
    return status


def _phase(status: RunStatus) -> str:
    """`epoch 3/20`, or what the run does while it is in no epoch."""
    epoch, epochs = count(status.progress, "epoch"), count(status.progress, "epochs")
    if not status.over:
        of_ranks = {rank.state for rank in status.ranks}
        if "reconstructing" in of_ranks:
            return "reconstructing"
        if "finished" in of_ranks:
            return "finishing"
    if status.over or status.state == "pending" or epoch is None or epochs is None:
        starting = status.state == "running" and epoch is None
        return "starting" if starting else status.state
    return f"epoch {min(epoch + 1, epochs)}/{epochs}"


def _figures(status: RunStatus) -> str:
    loss, rate = number(status.progress, "loss"), number(status.progress, "patterns_per_s")
    words = [f"loss {loss:.5g}" if loss is not None else ""]
    words.append(f"{rate:.1f} patterns/s" if rate is not None else "")
    words.append(f"done {eta_words(status)}" if status.training_ends_at is not None else "")
    return "  ".join(word for word in words if word)
