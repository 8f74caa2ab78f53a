"""Scaling studies with known truths: what collecting would have found, without a run."""

from collections.abc import Callable

import numpy as np

from launcher.scaling.analysis.results import Collected, Measurement
from launcher.scaling.study.definition import BaseSetup, Point, Study
from launcher.timing.attribution import Attribution
from ptycho_dist.rundir.measurement_plan import MeasurementPlan

STEPS = 100


def measurement(
    nodes: int,
    repeat: int,
    samples_per_s: float,
    /,
    *,
    tasks_per_node: int = 1,
    mode: str = "strong",
    batch: int = 64,
    parts_s: dict[str, float] | None = None,
    by_rank_s: dict[int, dict[str, float]] | None = None,
    **others: object,
) -> Measurement:
    """One run. `batch`: global in strong mode, per rank in weak mode. `parts_s`: per step; the
    forward pass takes what is left of the training time."""
    ranks = nodes * tasks_per_node
    global_batch = batch if mode == "strong" else batch * ranks
    step_s = global_batch / samples_per_s
    given = parts_s or {}
    beside = sum(s for part, s in given.items() if part not in ("checkpoint", "validation"))
    parts = {"forward_backward": step_s - beside, **given}
    total = {part: seconds * STEPS for part, seconds in parts.items()}
    point = Point(
        index=repeat * 100 + nodes,
        modes=(mode,),
        nodes=nodes,
        tasks_per_node=tasks_per_node,
        repeat=repeat,
        batch_size=global_batch // ranks,
        global_batch=global_batch,
        learning_rate=1e-3,
        overrides={},
    )
    fields = {
        "run_id": f"{mode}-{nodes}x{tasks_per_node}-{repeat}",
        "started_at": 1e9 + 600.0 * (repeat * 10 + (nodes * 7 + repeat * 3) % 10),
        "start_up_s": {"queue": 500.0, "launch": 2.0, "imports": 5.0, "first_batch": 3.0},
        "job_s": 100.0,
        "goodput": 1.0,
        "attempts": 1,
        "time_to_solution_s": None,
        "loss": 0.1,
        "host_peak_bytes": 10**9,
        "device_peak_bytes": None,
        "gpu_utilisation": None,
        "machines": nodes,
        "cores": 8 * nodes,
        "threads": ranks,
        "device": "cpu",
        "nodes": tuple(f"n{number}" for number in range(nodes)),
    }
    attribution = Attribution(
        ranks=ranks,
        steps=STEPS,
        samples=STEPS * global_batch,
        wall_s=sum(total.values()),
        parts_s=total,
        by_rank_s=by_rank_s or {},
    )
    return Measurement(**({"point": point, "attribution": attribution} | fields | others))


BASE = BaseSetup(
    ranks=1,
    batch_size=64,
    accum_steps=1,
    global_batch=64,
    learning_rate=1e-3,
    samples=3600,
    epochs=10,
)


def study(measured: list[Measurement], *, missing: tuple = (), **others: object) -> Collected:
    """All that a study has collected."""
    points = [each.point for each in (*measured, *missing)]
    fields = {
        "name": "sim",
        "created_at": 1e9,
        "cluster": "local",
        "command": ("ptycho-launch", "scale", "run.yaml"),
        "config_sha256": "0" * 64,
        "base": BASE,
        "modes": tuple(dict.fromkeys(mode for point in points for mode in point.modes)),
        "nodes": tuple(sorted({point.nodes for point in points})),
        "tasks_per_node": tuple(sorted({point.tasks_per_node for point in points})),
        "repeats": 1 + max((point.repeat for point in points), default=0),
        "seed": 0,
        "lr_rule": "sqrt",
        "measurement": MeasurementPlan("steps", STEPS, 10),
        "points": tuple(points),
    }
    return Collected(Study(**(fields | others)), tuple(measured), tuple(missing))


def simulated(
    throughput: Callable[[np.ndarray], np.ndarray],
    nodes: tuple[int, ...] = (1, 2, 4, 8, 16),
    *,
    repeats: int = 5,
    noise: float = 0.02,
    seed: int = 0,
    tasks_per_node: int = 1,
    mode: str = "strong",
    **others: object,
) -> Collected:
    """A study of a known law, with multiplicative noise."""
    random = np.random.default_rng(seed)
    exact = throughput(np.array(nodes, float) * tasks_per_node)
    return study(
        [
            measurement(
                count,
                repeat,
                float(x * np.exp(random.normal(0, noise))),
                tasks_per_node=tasks_per_node,
                mode=mode,
                **others,
            )
            for repeat in range(repeats)
            for count, x in zip(nodes, exact, strict=True)
        ]
    )
