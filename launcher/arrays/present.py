"""Shows arrays to people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from launcher.status.next_command import reference_to
from launcher.text.plain_text import plain

if TYPE_CHECKING:  # `plan` must not load rich (RC-125)
    from rich.console import Console

    from launcher.arrays.grid import ArrayPart
    from launcher.arrays.plan import ArrayPlan
    from launcher.status.array_status import ArrayStatus


def array_plan_lines(plan: ArrayPlan, parts: Sequence[ArrayPart]) -> Iterator[str]:
    """Lines with the number of runs, the axes and the job arrays; a plan follows them."""
    from launcher.arrays.plan import values_text

    sizes = " × ".join(f"{len(values)} {path}" for path, values in plan.axes.items())
    yield f"array {len(plan.members)} runs = {sizes}"
    for part in parts:
        limit = "" if plan.throttle is None else f", at most {plan.throttle} at once"
        yield f"  job array of members {part.indices}{limit}"
    yield ""
    yield f"first member {values_text(plan.members[0].values)}"


def show_array(status: ArrayStatus, console: Console) -> None:
    """Print the members counted by state, then a table of them and what to do next."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    console.print(Text.assemble((plain(status.array.array_id), "bold"), f": {status.summary}"))
    for job in status.jobs:
        place = f"{job['cluster']} job {job['job_id']}: members {job['indices']}"
        console.print(Text(plain(f"  {place}")))
    table = Table(box=None, pad_edge=False)
    table.add_column("member", justify="right")
    for path in status.axes:
        table.add_column(escape(_text(path.rpartition(".")[2])), justify="right")
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
        run = failed.member.run
        reference = plain(reference_to(run.path))
        console.print(Text(f"{plain(run.run_id)}: {failed.status.cause}"))
        console.print(Text(f"see why: ptycho-launch explain {reference}"), soft_wrap=True)
    if status.over and not status.finished:
        reference = plain(reference_to(status.array.path))
        console.print(Text(f"resume the others: ptycho-launch resume {reference}"), soft_wrap=True)


def _text(value: Any) -> str:
    return plain(value if isinstance(value, str) else json.dumps(value))
