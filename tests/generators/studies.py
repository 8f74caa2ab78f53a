"""Studies that never ran: what collecting and analysis would give for a known machine."""

from __future__ import annotations

from launcher.scaling.analysis.results import (
    Collected,
    Estimate,
    ForDeadline,
    Law,
    Measurement,
    Missing,
    Series,
    Size,
    StudyAnalysis,
)
from launcher.scaling.study.definition import BaseSetup, Point, Study
from launcher.timing.attribution import PARTS, Attribution
from ptycho_dist.rundir.measurement_plan import MeasurementPlan

STEPS = 20
BATCH = 8
PER_SAMPLE_S = 0.004
CONTENTION = 0.06
COHERENCY = 0.004


def throughput(ranks: int) -> float:
    """Samples/s by the Universal Scalability Law."""
    return ranks / PER_SAMPLE_S / (1 + CONTENTION * (ranks - 1) + COHERENCY * ranks * (ranks - 1))


def parts_of(step_s: float, ranks: int, checkpoint: bool = False) -> dict[str, float]:
    """Seconds of a step in each part; together `step_s`."""
    computing = min(step_s * 0.8, PER_SAMPLE_S * BATCH * 0.8)
    shares = {"data": 0.08, "communication": 0.5, "straggler": 0.2, "optimizer": 0.12}
    shares["framework"] = 0.1
    rest = step_s - computing
    parts = {part: rest * shares.get(part, 0.0) for part in PARTS}
    parts["forward_backward"] = computing
    return parts


def around(value: float, part: float = 0.04) -> Estimate:
    return Estimate(value, value * (1 - part), value * (1 + part))


def a_study(
    *,
    name: str = "siemens",
    modes: tuple[str, ...] = ("strong", "weak"),
    nodes: tuple[int, ...] = (1, 2, 4),
    tasks: tuple[int, ...] = (1,),
    repeats: int = 5,
    cores: int = 2,
    device: str = "cpu",
    cluster: str = "slurm",
    laws: bool = True,
    with_missing: bool = False,
    deadline: ForDeadline | None = None,
    warnings: tuple[str, ...] | None = None,
    node_names: tuple[str, ...] | None = None,
) -> tuple[Collected, StudyAnalysis]:
    """A study of which every rank computes with one thread on a machine of so many cores."""
    points, measured, missing = [], [], []
    for repeat in range(repeats):
        for mode in modes:
            for count in nodes:
                for each in tasks:
                    ranks = count * each
                    batch = BATCH if mode == "weak" else max(1, BATCH * max(nodes) // ranks)
                    point = Point(
                        len(points), (mode,), count, each, repeat, batch, batch * ranks, 1e-3,
                        {"resources.nodes": count, "training.batch_size": batch},
                    )  # fmt: skip
                    points.append(point)
                    run_id = f"{name}-20260101-000000-0001.{point.index:03d}"
                    if with_missing and point.index == 1:
                        missing.append(Missing(point, run_id, "failed", "rank 1 ran out of memory"))
                        continue
                    names = (node_names or tuple(f"node{n}" for n in range(1, 9)))[:count]
                    measured.append(
                        _measurement(point, run_id, cores, device, names, drift=1 + 0.01 * repeat)
                    )
    study = Study(
        name=name,
        created_at=1_767_225_600.0,
        cluster=cluster,
        command=("ptycho-launch", "scale", "run.yaml", "--nodes", ",".join(map(str, nodes))),
        config_sha256="5e0f" * 16,
        base=BaseSetup(
            ranks=1, batch_size=BATCH, accum_steps=1, global_batch=BATCH * max(nodes),
            learning_rate=1e-3, samples=512, epochs=10,
        ),
        modes=modes,
        nodes=nodes,
        tasks_per_node=tasks,
        repeats=repeats,
        seed=1234,
        lr_rule="sqrt",
        measurement=MeasurementPlan("steps", STEPS, 5),
        points=tuple(points),
    )  # fmt: skip
    series = tuple(
        _series(mode, each, nodes, repeats, cores, device, laws) for mode in modes for each in tasks
    )
    if warnings is None:
        over = [size for of in series for size in of.sizes if size.oversubscribed]
        warnings = (
            (f"{len(over)} sizes had more threads than the {cores} cores of the machine",)
            if over
            else ()
        )
    analysis = StudyAnalysis(
        series,
        deadline,
        warnings,
        "sqrt",
        {
            "resamples": 2000,
            "confidence": 0.95,
            "interval": "bootstrap of the repeats, percentiles",
        },
    )
    return Collected(study, tuple(measured), tuple(missing)), analysis


def _measurement(point, run_id, cores, device, names, drift):
    ranks = point.ranks
    step_s = point.global_batch / throughput(ranks) * drift
    parts = {part: STEPS * each for part, each in parts_of(step_s, ranks).items()}
    return Measurement(
        point=point,
        run_id=run_id,
        started_at=1_767_225_600.0 + 60 * point.index,
        attribution=Attribution(
            ranks, STEPS, STEPS * point.global_batch, STEPS * step_s, parts,
            dict.fromkeys(range(ranks), parts),
        ),
        start_up_s={"queue": 2.0, "launch": 0.5, "imports": 5.0, "rendezvous": 0.1 * ranks},
        job_s=60.0,
        goodput=0.9,
        attempts=1,
        time_to_solution_s=None,
        loss=0.12,
        host_peak_bytes=512 * 2**20,
        device_peak_bytes=None,
        gpu_utilisation=None,
        machines=1,
        cores=cores,
        threads=ranks,
        device=device,
        nodes=tuple(names),
    )  # fmt: skip


def _series(mode, tasks, nodes, repeats, cores, device, laws):
    sizes = []
    for count in nodes:
        ranks = count * tasks
        global_batch = BATCH * (ranks if mode == "weak" else max(nodes))
        rate = throughput(ranks)
        smallest = nodes[0] * tasks
        speedup = rate / throughput(smallest)
        sizes.append(
            Size(
                nodes=count, tasks_per_node=tasks, ranks=ranks, repeats=repeats,
                throughput=around(rate), step_s=around(global_batch / rate),
                speedup=around(speedup), efficiency=around(speedup / (ranks / smallest)),
                parts_s=parts_of(global_batch / rate, ranks),
                start_up_s={
                    "queue": 2.0, "launch": 0.5, "imports": 5.0, "rendezvous": 0.1 * ranks,
                    "opening": 1.2, "first_batch": 0.4,
                },
                time_to_solution_s=1000.0 / ranks if repeats >= 5 else None,
                time_to_solution_mean_s=1001.0 / ranks, time_to_solution_runs=repeats, goodput=0.9,
                host_peak_bytes=512 * 2**20, device_peak_bytes=None, gpu_utilisation=None,
                oversubscribed=device == "cpu" and cores < ranks,
            )
        )  # fmt: skip
    largest = sizes[-1].ranks
    fitted = (
        Law(
            "USL", "X(N) = X1 N / (1 + σ(N−1) + κN(N−1))", "Gunther 2007",
            {
                "X1": around(throughput(1)), "contention": around(CONTENTION, 0.2),
                "coherency": around(COHERENCY, 0.3),
            },
            largest, -0.031,
            tuple((float(n), throughput(n)) for n in range(sizes[0].ranks, 4 * largest + 1)),
        ),
    )  # fmt: skip
    return Series(
        mode, tasks, tuple(sizes), fitted if laws else (), "USL" if laws else None,
        "it foretold the held-out size best" if laws else "there are too few sizes for a law",
        sizes[-1].ranks, "One more doubling would bring less than half of it.",
        (
            *(["Oversubscription: too few cores."] if sizes[-1].oversubscribed else []),
            "A step takes more than with perfect scaling.",
            "Exposed communication: 7.1 ms lost per step, from 3.2 ms to 10.3 ms.",
        ),
    )  # fmt: skip
