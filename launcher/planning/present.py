"""A plan as text for people.

Does not use rich, whose import takes longer than making the plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from launcher.planning.plan import LaunchPlan


def plan_lines(plan: LaunchPlan, notes: Sequence[str], script: str) -> Iterator[str]:
    """Yield the lines of a plan: its figures and how they follow, origins, notes and the script."""
    rows = _figures(plan)
    names, values = (max(len(row[column]) for row in rows) for column in (0, 1))
    for name, value, origin in rows:
        yield f"{name:<{names}}  {value:<{values}}  {origin}"
    yield ""
    yield "set by (other fields have their defaults)"
    by_origin: dict[str, list[str]] = {}
    for path, origin in plan.origins.items():
        if origin != "default":
            by_origin.setdefault(origin, []).append(path)
    for origin, paths in by_origin.items():
        yield f"  {origin}: {', '.join(sorted(paths))}"
    for note in notes:
        yield ""
        yield f"note: {note}"
    if plan.setup:
        yield ""
        yield f"environment.setup runs {len(plan.setup)} shell lines in each job"
    yield ""
    yield "job.sbatch"
    yield from script.split("\n")[:-1]


def _figures(plan: LaunchPlan) -> list[tuple[str, str, str]]:
    world = plan.world
    memory = plan.resources.mem_per_node or "site default"
    return [
        ("ranks", f"{world.ranks}", f"{world.nodes} nodes × {world.tasks_per_node} tasks per node"),
        ("threads per rank", f"{world.threads_per_rank}", "resources.cpus_per_task"),
        ("accelerator", plan.accelerator, "resolved by each rank"),
        (
            "global batch",
            f"{world.global_batch}",
            f"{world.batch_size} per rank × {world.accum_steps} accumulated × {world.ranks} ranks",
        ),
        ("samples", f"{world.samples}", "groups per epoch"),
        (
            "optimizer steps",
            f"{world.total_steps}",
            f"{world.steps_per_epoch} × {world.epochs} epochs",
        ),
        ("walltime", plan.resources.time, _lead(plan)),
        ("restarts", *_restarts(plan)),
        ("memory per node", memory, "resources.mem_per_node"),
        ("python", str(plan.python), "interpreter of the ranks"),
    ]


def _lead(plan: LaunchPlan) -> str:
    text = f"ranks are asked to stop {plan.signal_lead_s} s before its end"
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
    return f"{policy.max_restarts}", f"automatic, after {', '.join(policy.on)}; {most}"
