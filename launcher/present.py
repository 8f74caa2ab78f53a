"""Plans and results as text for people."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from launcher.plan import LaunchPlan
from ptycho_dist.rundir import RunDirectory
from ptycho_dist.rundir.files import read_json


def show_plan(plan: LaunchPlan, notes: Sequence[str], script: str, console: Console) -> None:
    """The figures of a plan with their derivation, what the site does, then the script."""
    world = plan.world
    steps = f"{world.steps_per_epoch} × {world.epochs} epochs"
    memory = plan.resources.mem_per_node or "site default"
    rows = [
        ("ranks", f"{world.ranks}", f"{world.nodes} nodes × {world.tasks_per_node} tasks per node"),
        ("threads per rank", f"{world.threads_per_rank}", "resources.cpus_per_task"),
        ("accelerator", plan.accelerator, "resolved on the rank"),
        (
            "global batch",
            f"{world.global_batch}",
            f"{world.batch_size} per rank × {world.accum_steps} accumulated × {world.ranks} ranks",
        ),
        ("samples", f"{world.samples}", "groups per epoch"),
        ("optimizer steps", f"{world.total_steps}", steps),
        ("walltime", plan.resources.time, _lead(plan)),
        ("restarts", *_restarts(plan)),
        ("memory per node", memory, "resources.mem_per_node"),
        ("python", str(plan.python), "of the ranks"),
    ]
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value, origin in rows:
        table.add_row(name, escape(value), f"[dim]{escape(origin)}[/dim]")
    console.print(table)
    chosen = {path: origin for path, origin in plan.origins.items() if origin != "default"}
    console.print("\n[bold]set by[/bold] (all else: defaults)")
    by_origin: dict[str, list[str]] = {}
    for path, origin in chosen.items():
        by_origin.setdefault(origin, []).append(path)
    for origin, paths in by_origin.items():
        console.print(escape(f"  {origin}: {', '.join(sorted(paths))}"), highlight=False)
    for note in notes:
        console.print(f"\n[bold]note[/bold] {escape(note)}", highlight=False)
    if plan.setup:
        console.print(
            f"\n[bold]environment.setup[/bold] runs {len(plan.setup)} shell lines on each job"
        )
    console.print("\n[bold]job.sbatch[/bold]")
    console.out(script, highlight=False, end="")


def _lead(plan: LaunchPlan) -> str:
    text = f"ranks are told to stop {plan.signal_lead_s} s before"
    if plan.requeue.signal_lead_s != "auto":
        return text
    if plan.measured is None:
        return f"{text} (auto, nothing measured yet)"
    steps, checkpoints = plan.measured.step_s, plan.measured.checkpoint_s
    return f"{text} (auto: steps took up to {steps:.3g} s, checkpoints {checkpoints:.3g} s)"


def _restarts(plan: LaunchPlan) -> tuple[str, str]:
    policy = plan.requeue
    if not policy.on or not policy.max_restarts:
        return "none", "requeue.on, requeue.max_restarts"
    most = f"at most {policy.max_restarts + 1} × {plan.resources.time} of walltime"
    return f"{policy.max_restarts}", f"by itself, after {', '.join(policy.on)}; {most}"


def show_result(run: RunDirectory, console: Console) -> None:
    """What a finished run has reached, and where everything is."""
    rows = read_metrics(run.metrics / "metrics.csv")
    if rows:
        table = Table(box=None, pad_edge=False)
        names = [name for name in rows[-1] if rows[-1][name]]
        for name in names:
            table.add_column(name.replace("_", " "), justify="right")
        shown = rows if len(rows) <= 6 else [*rows[:3], {}, *rows[-2:]]
        for row in shown:
            table.add_row(*([_short(row[name]) for name in names] if row else ["…"] * len(names)))
        console.print(table)
    places = [
        ("metrics", run.metrics / "metrics.csv"),
        ("checkpoints", run.checkpoints),
        ("logs", run.logs),
    ]
    if run.reconstruction_metrics.is_file():
        show_scores(read_json(run.reconstruction_metrics), console)
        places[:0] = [("picture", run.picture), ("object", run.object_file)]
    for label, path in places:
        console.print(escape(f"{label:>12}: {_from_here(path)}"), highlight=False, soft_wrap=True)


def show_scores(metrics: dict[str, Any], console: Console) -> None:
    """The scores of the reconstruction beside those of the flat guess."""
    table = Table(box=None, pad_edge=False)
    for heading in ("reconstruction", "found", "flat guess"):
        table.add_column(heading, justify="left" if heading == "reconstruction" else "right")
    for name, value in metrics["reconstruction"].items():
        flat = metrics["flat_guess"].get(name)
        table.add_row(name.replace("_", " "), *(_score(each) for each in (value, flat)))
    console.print(table)


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv; none before the first epoch is done."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _short(text: str) -> str:
    try:
        return f"{float(text):.6g}"
    except ValueError:
        return text


def _from_here(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
