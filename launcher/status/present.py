"""Shows the status of one run, or of many, as text for people."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from launcher.status.array_status import FoldedArray, fold
from launcher.status.details import RunDetails
from launcher.status.history import PastAttempt
from launcher.status.next_command import next_command
from launcher.status.run_status import RankStatus, RunStatus
from launcher.text.durations import clock, duration
from launcher.text.plain_text import plain
from ptycho_dist.rundir.checked_json import count, number

_MOST_RANKS = 32
"""Rows of the table of ranks; ranks in trouble are shown first."""
_MOST_REMARKS = 8
"""Lines about single ranks below that table."""
_COLOURS = {"running": "green", "failed": "red", "lost": "red", "damaged": "red", "unknown": "red"}


def show_run(details: RunDetails, console: Console) -> None:
    """Show one run: its state, its progress, its attempts and ranks, and what to type next."""
    status = details.status
    for line in _head(details):
        console.print(line)
    if details.history:
        console.print(attempts_table(details.history))
    if status.ranks:
        console.print(ranks_table(status, _MOST_RANKS, _MOST_REMARKS))
    what, command = next_command(status)
    console.print(Text(f"{what}: {plain(command)}"), soft_wrap=True)


def _head(details: RunDetails) -> list[Text]:
    status = details.status
    lines = [title(status), Text(f"  {plain(status.cause)} [source: {status.said_by}]")]
    if status.waiting is not None and status.waiting.advice:
        lines.append(Text(f"  what helps: {status.waiting.advice}"))
    if status.state == "pending":
        starts_at = status.starts_at
        begins = "not known yet" if starts_at is None else f"expected {clock(starts_at)}"
        lines.append(Text(f"  start: {begins}"))
    figures = progress_words(status)
    if figures:
        lines.append(Text(f"  {figures}"))
    if status.state == "running":
        ends_at = status.walltime_ends_at
        walltime = "" if ends_at is None else f"; walltime until {clock(ends_at)}"
        lines.append(Text(f"  training done: {eta_words(status)}{walltime}"))
    if details.warning:
        lines.append(Text(f"  warning: {details.warning}", style="yellow"))
    missing = missing_ranks(status)
    if missing:
        lines.append(Text(f"  {missing}", style="yellow"))
    lines.append(Text(f"  directory: {plain(status.path)}"))
    return lines


def title(status: RunStatus) -> Text:
    """The headline of a run: `fly64-…: running (slurm job 7, attempt 2)`."""
    job = f"{status.cluster} job {status.job_id}" if status.job_id else ""
    attempt = f"attempt {status.attempts}" if status.attempts else ""
    inside = ", ".join(part for part in (plain(job), attempt) if part)
    return Text.assemble(
        (plain(status.run_id), "bold"),
        ": ",
        (status.state, _COLOURS.get(status.state, "")),
        f" ({inside})" if inside else "",
    )


def progress_words(status: RunStatus) -> str:
    """The progress in words: `epoch 4/20, step 31/160, loss 0.043, 46.4 patterns/s`.

    Empty before the training begins.
    """
    progress = status.progress
    epoch, epochs = count(progress, "epoch"), count(progress, "epochs")
    step, total = count(progress, "step"), count(progress, "total_steps")
    loss, rate = number(progress, "loss"), number(progress, "patterns_per_s")
    words = []
    if epoch is not None and epochs is not None:
        words.append(f"epoch {min(epoch + 1, epochs)}/{epochs}")
    if step is not None and total is not None:
        words.append(f"step {step}/{total}")
    if loss is not None:
        words.append(f"loss {loss:.5g}")
    if rate is not None and status.state == "running":
        words.append(f"{rate:.1f} patterns/s")
    return ", ".join(words)


def eta_words(status: RunStatus) -> str:
    """When the training will be done: `14:32:10 (in 1 h 20 min)`, or `-` while it is unknown."""
    ends_at = status.training_ends_at
    if ends_at is None:
        return "-"
    return f"{clock(ends_at)} (in {duration(ends_at - time.time())})"


def missing_ranks(status: RunStatus) -> str:
    """The planned ranks that have not reported in the running attempt; empty: all have."""
    if status.state != "running" or status.ranks_planned is None or not status.ranks:
        return ""
    seen = {rank.rank for rank in status.ranks}
    absent = [rank for rank in range(status.ranks_planned) if rank not in seen]
    if not absent:
        return ""
    names = ", ".join(str(rank) for rank in absent[:8]) + (", …" if len(absent) > 8 else "")
    return f"{len(absent)} of {status.ranks_planned} ranks have not been seen yet: {names}"


def attempts_table(history: Sequence[PastAttempt]) -> Table:
    """A table with a line for each attempt."""
    table = Table(box=None, pad_edge=False)
    for heading in ("attempt", "began", "ended", "from", "to step"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("job", overflow="ellipsis", no_wrap=True)
    table.add_column("how", overflow="fold", min_width=16)
    for attempt in history:
        how = "; ".join(part for part in (attempt.begun, attempt.ended) if part)
        start, of_attempt = attempt.resumed_from_step, attempt.resumed_from_attempt
        table.add_row(
            str(attempt.attempt),
            clock(attempt.started_at),
            clock(attempt.ended_at),
            "-" if start is None else f"{start}" + (f" of {of_attempt}" if of_attempt else ""),
            "-" if attempt.reached_step is None else str(attempt.reached_step),
            escape(plain(attempt.job_id or "")),
            escape(plain(how)),
        )
    return table


def ranks_table(status: RunStatus, most: int, most_remarks: int) -> RenderableType:
    """A table with a line for each rank, and below it remarks about ranks in trouble.

    Args:
        status: the run.
        most: number of ranks to show; ranks in trouble are chosen first.
        most_remarks: number of remarks to show.
    """
    shown = sorted(status.ranks, key=_calm)[:most]
    table = Table(box=None, pad_edge=False)
    for heading in ("rank", "node", "state", "step", "patterns/s", "last sign"):
        table.add_column(
            heading,
            justify="left" if heading == "node" else "right",
            no_wrap=True,
            overflow="ellipsis",
        )
    for rank in sorted(shown, key=lambda rank: rank.rank):
        rate = rank.patterns_per_s
        table.add_row(
            str(rank.rank),
            escape(plain(rank.node)),
            rank.state,
            "" if rank.step is None else str(rank.step),
            "" if rate is None else f"{rate:.1f}",
            f"{duration(rank.age_s)} ago",
            style="yellow" if rank.straggler else "",
        )
    parts: list[RenderableType] = [table]
    rest = len(status.ranks) - len(shown)
    if rest:
        parts.append(Text(f"and {rest} more ranks; all: --json"))
    remarks = [
        Text(f"rank {rank.rank} {plain(remark)}", style="yellow")
        for rank in shown
        if (remark := rank.straggler or (rank.reason and f"failed: {rank.reason}"))
    ]
    return Group(*parts, *remarks[:most_remarks])


def _calm(rank: RankStatus) -> tuple[bool, bool, int]:
    return (rank.state != "failed", not rank.straggler, rank.rank)


def show_overview(statuses: Sequence[RunStatus], console: Console) -> None:
    """Show many runs, a line each; an array is one line that counts the states of its members."""
    entries = fold(statuses)
    lines = overview_lines(entries, console.width)
    if not console.is_terminal:
        print("\n".join(lines))
        return
    heading, *rows = lines
    table = Text(f"{heading}\n", style="bold")
    for row, entry in zip(rows, entries, strict=True):
        state = entry.state if isinstance(entry, RunStatus) else ""
        table.append(f"{row}\n", style=f"not bold {_COLOURS.get(state, 'default')}")
    console.print(table, soft_wrap=True, end="")


def overview_lines(entries: Sequence[RunStatus | FoldedArray], width: int) -> list[str]:
    """The lines of the table of runs, its heading first.

    They are laid out by hand: a table of rich takes a third of a second for a thousand rows.

    Args:
        entries: runs and arrays.
        width: no line is longer.
    """
    headings = ("run", "state", "job", "step", "done or age", "attempts")
    rows = [headings, *(_row(entry) for entry in entries)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(headings))]
    for place, least in ((2, 6), (1, 12), (0, 12)):  # the run id is cut last of all
        too_wide = max(0, sum(widths) + 2 * (len(headings) - 1) - width)
        widths[place] -= min(too_wide, max(0, widths[place] - least))
    lines = ["  ".join(map(_fit, row, widths)).rstrip() for row in rows]
    for place, entry in enumerate(entries, start=1):
        if isinstance(entry, RunStatus) and entry.state == "damaged":
            lines[place] = f"{lines[place]}  {plain(entry.cause)}"
    return [line[:width] for line in lines]


def _fit(cell: str, size: int) -> str:
    return cell.ljust(size) if len(cell) <= size else f"{cell[: size - 1]}…"


def _row(status: RunStatus | FoldedArray) -> tuple[str, ...]:
    if isinstance(status, FoldedArray):
        age = _done_or_age(max(status.members, key=lambda member: member.began_at or 0.0))
        return plain(status.array_id), status.summary, "", "", age, str(status.attempts)
    progress = status.progress
    step, total = count(progress, "step"), count(progress, "total_steps")
    return (
        plain(status.run_id),
        status.state,
        plain(status.job_id or ""),
        f"{step}/{total}" if step is not None and total is not None else "",
        _done_or_age(status),
        str(status.attempts),
    )


def _done_or_age(status: RunStatus) -> str:
    """When a run will be done or start, or how long ago it ended, began or was submitted."""
    now = time.time()
    if status.training_ends_at is not None:
        return f"in {duration(status.training_ends_at - now)}"
    if status.state == "pending" and status.starts_at is not None:
        return f"starts in {duration(status.starts_at - now)}"
    since = status.ended_at or status.began_at
    return "" if since is None else f"{duration(now - since)} ago"
