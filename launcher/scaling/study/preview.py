"""The preview of a study: its sizes and its cost, shown before it is submitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from launcher.scaling.study.definition import LrRule, Point
from launcher.scaling.study.plan import PlannedStudy, node_hours
from launcher.scaling.study.points import mode_text
from launcher.text.plain_text import plain
from ptycho_dist.rundir.measurement_plan import MeasurementPlan

LR_RULES: dict[LrRule, str] = {
    "sqrt": "learning rate × √(global batch / global batch of the config), for Adam "
    "(arXiv:2205.10287)",
    "linear": "learning rate × global batch / global batch of the config (arXiv:1706.02677)",
    "none": "learning rate as in the config, whatever the global batch",
}

_HEADINGS = (
    "nodes",
    "tasks",
    "ranks",
    "mode",
    "batch\nper rank",
    "global\nbatch",
    "learning\nrate",
    "epochs",
    "runs",
    "walltime\neach",
    "node-\nhours",
)


def show_preview(planned: PlannedStudy, console: Console) -> None:
    """Print a line for each size, then how it is measured and what it can cost."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in _HEADINGS:
        side: Literal["left", "right"] = "left" if heading == "mode" else "right"
        table.add_column(heading, justify=side, no_wrap=True)
    for row in _rows(planned):
        table.add_row(*row)
    study = planned.study
    title = Text.assemble(("scaling study of ", ""), (plain(study.name), "bold"))
    console.print(title)
    console.print(table)
    for line in _notes(planned):
        console.print(Text(line), soft_wrap=True)


def _rows(planned: PlannedStudy) -> Iterator[tuple[str, ...]]:
    sizes: dict[tuple[object, ...], list[Point]] = {}
    for point in planned.study.points:
        size = point.ranks, point.nodes, point.tasks_per_node, point.modes
        sizes.setdefault(size, []).append(point)
    for _, same in sorted(sizes.items()):
        point, plan = same[0], planned.members[same[0].index].plan
        yield (
            str(point.nodes),
            str(point.tasks_per_node),
            str(point.ranks),
            mode_text(point.modes),
            str(point.batch_size),
            str(point.global_batch),
            f"{point.learning_rate:.4g}",
            str(plan.world.epochs),
            str(len(same)),
            plan.resources.time,
            f"{len(same) * node_hours(plan):.3g}",
        )


def _notes(planned: PlannedStudy) -> Iterator[str]:
    study = planned.study
    yield f"measured: {measured_text(study.measurement)}"
    if "weak" in study.modes:
        yield f"weak scaling: {LR_RULES[study.lr_rule]}"
    side = "one after another" if planned.at_once == 1 else f"at most {planned.at_once} at once"
    yield (
        f"order: {len(study.points)} runs, {side}; each repeat holds every size once, shuffled "
        f"(seed {study.seed})"
    )
    expected = _expected(planned)
    if expected is not None:
        yield (
            "if each step takes as long as the longest one measured in earlier runs: "
            f"{expected:.2g} node-hours, without start-up"
        )
    yield f"cost at most: {cost_text(planned)}"


def measured_text(measurement: MeasurementPlan) -> str:
    """How long each run measures, as in `30 optimizer steps after 5 of warm-up`."""
    warm_up = f"after {measurement.warm_up_steps} of warm-up"
    if measurement.until == "steps":
        return f"{measurement.value:g} optimizer steps {warm_up}"
    if measurement.until == "seconds":
        return f"{measurement.value:g} s of steps {warm_up}"
    return (
        f"until the loss of an epoch is at most {measurement.value:g}, all steps {warm_up}; "
        "each repeat has its own seed"
    )


def cost_text(planned: PlannedStudy) -> str:
    """The largest cost, as in `12.5 node-hours, each run to the end of its walltime`."""
    text = f"{planned.node_hours:.3g} node-hours, each run to the end of its walltime"
    policy = planned.members[0].plan.requeue
    if not policy.on or not policy.max_restarts:
        return text
    return f"{text}; each restart (requeue.on) adds another walltime"


def _expected(planned: PlannedStudy) -> float | None:
    """Node-hours of the steps alone, from the longest step of earlier runs of each size.

    Returns:
        None where a size has not been measured before.
    """
    measurement = planned.study.measurement
    if measurement.until != "steps":
        return None
    steps, total = measurement.warm_up_steps + measurement.value, 0.0
    for member in planned.members:
        if member.plan.measured is None:
            return None
        total += member.plan.world.nodes * steps * member.plan.measured.step_s / 3600
    return total
