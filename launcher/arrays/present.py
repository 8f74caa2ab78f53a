"""Arrays as text for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from launcher.arrays.grid import Part
from launcher.arrays.plan import ArrayPlan, values_text
from launcher.arrays.status import ArrayStatus, FoldedArray


def show_array_plan(plan: ArrayPlan, parts: Sequence[Part], console: Console) -> None:
    """How many runs, of which axes, in how many job arrays; the first member's plan follows."""
    sizes = " × ".join(f"{len(values)} {path}" for path, values in plan.axes.items())
    console.print(f"[bold]array[/bold] {len(plan.members)} runs = {escape(sizes)}", highlight=False)
    for part in parts:
        limit = "" if plan.throttle is None else f", at most {plan.throttle} at once"
        console.print(escape(f"  job array of members {part.indices}{limit}"), highlight=False)
    first = escape(values_text(plan.members[0].values))
    console.print(f"\n[bold]first member[/bold] {first}", highlight=False)


def show_array(status: ArrayStatus, console: Console) -> None:
    """The counts, then a line for each member."""
    console.print(
        f"[bold]{escape(status.array.array_id)}[/bold]: {status.summary}", highlight=False
    )
    for job in status.jobs:
        place = f"{job['cluster']} job {job['job_id']}: members {job['indices']}"
        console.print(escape(_text(f"  {place}")), highlight=False)
    table = Table(box=None, pad_edge=False)
    table.add_column("member", justify="right")
    for path in status.axes:
        table.add_column(escape(path.rpartition(".")[2]), justify="right")
    for heading in ("state", "step", "loss", "attempts"):
        table.add_column(heading, justify="left" if heading == "state" else "right")
    for each in status.members:
        shown = each.to_json()
        step = "" if shown["step"] is None else f"{shown['step']}/{shown['total_steps'] or '?'}"
        table.add_row(
            escape(each.member.run.run_id.rpartition(".")[2]),
            *(escape(_text(each.member.values.get(path))) for path in status.axes),
            shown["state"],
            step,
            "" if shown["loss"] is None else f"{shown['loss']:.5g}",
            str(shown["attempts"]),
        )
    console.print(table)
    failed = next((each for each in status.members if each.status.state == "failed"), None)
    if failed is not None:
        run_id = failed.member.run.run_id
        console.print(escape(_text(f"{run_id}: {failed.status.cause}")), highlight=False)
        console.print(escape(f"see: ptycho-launch logs {run_id}"), highlight=False)
    if status.over and not status.finished:
        again = f"go on with those: ptycho-launch resume {status.array.array_id}"
        console.print(escape(again), highlight=False)


def show_arrays(arrays: Sequence[FoldedArray], console: Console) -> None:
    """Arrays in a list of runs, a line each."""
    table = Table(box=None, pad_edge=False)
    for heading in ("array", "runs", "attempts"):
        table.add_column(heading, overflow="fold")
    for each in arrays:
        table.add_row(escape(each.array_id), each.summary, str(each.attempts))
    console.print(table)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return "".join(character if character.isprintable() else "?" for character in text)
