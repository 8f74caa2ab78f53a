"""Measure what the clock of a rank (ptycho_dist/training/step_clock.py) costs per step.

    python benchmarks/step_clock_cost.py [--ranks 2] [--steps 60]

Local ranks train. Afterwards rank 0 repeats the calls of one step, alternately to its clock and to
Lightning's profiler that does nothing. The difference, together with the cost of writing at a
heartbeat, is compared with the median step of the same process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ptycho_dist.attempts.attempt import begin_attempt
from ptycho_dist.attempts.job_variables import ATTEMPT_VARIABLE
from ptycho_dist.config.load import read_run_config
from ptycho_dist.config.world import world_of
from ptycho_dist.data.formats import write_scan
from ptycho_dist.data.simulate import SimulationSpec, simulate
from ptycho_dist.rundir.making import prepare_run
from ptycho_dist.rundir.measurement_plan import MeasurementPlan
from ptycho_dist.rundir.run_plan import RunPlan
from ptycho_dist.rundir.step_times import read_step_times
from ptycho_dist.runtime.rank_heartbeat import RANK_ZERO_EVERY_S

CONFIG = """
name: clock
reconstruct: false
data: {{train_data_file: {file}}}
model: {{n_filters_scale: {scale}}}
training: {{nepochs: 1000, batch_size: {batch}}}
execution: {{accelerator: cpu}}
resources: {{tasks_per_node: {ranks}}}
"""
CASES = {"a small network, 1 sample a rank": (0.125, 1), "the default, 16 a rank": (1.0, 16)}
REPEATS, ROUNDS = 200, 20
RECORDED_STEP = 20
COST_FILE = "CLOCK_COST_FILE"


def rank_main(run: str) -> None:
    """Run one rank; rank 0 writes the cost of its clock after its training."""
    from lightning.pytorch.profilers import PassThroughProfiler

    from ptycho_dist.rank.entry import run_rank
    from ptycho_dist.runtime.stop import StopRequest
    from ptycho_dist.training.step_clock import FETCH, StepClock

    said: list[tuple[str, str]] = []
    fetched = 0
    start, stop, end = StepClock.start, StepClock.stop, StepClock.end

    def noted_start(clock: StepClock, action: str) -> None:
        nonlocal fetched
        fetched += action == FETCH
        if fetched == RECORDED_STEP:
            said.append(("start", action))
        start(clock, action)

    def noted_stop(clock: StepClock, action: str) -> None:
        if fetched == RECORDED_STEP and said:
            said.append(("stop", action))
        stop(clock, action)

    def say(profiler: Any, of_run: Callable[[Any], None]) -> float:
        began = time.perf_counter()
        for _ in range(REPEATS):
            for what, action in said:
                if what == "start":
                    profiler.start(action)
                else:
                    if action.endswith(".backward") and profiler is not nothing:
                        profiler._timeline.turn("forward_backward", "reduction")
                    profiler.stop(action)
            of_run(profiler)
        return (time.perf_counter() - began) / REPEATS

    nothing = PassThroughProfiler()

    def step_done(clock: StepClock) -> None:
        clock.used(1)
        clock.step_done()

    def noted_end(clock: StepClock) -> None:
        end(clock)
        StepClock.start, StepClock.stop = start, stop  # type: ignore[method-assign]
        if clock._rank.rank:
            return
        clock.begin(0)
        costs, writes = [], []
        for _ in range(ROUNDS):
            without = say(nothing, lambda _: None)
            costs.append(say(clock, step_done) - without)
            began = time.perf_counter()
            clock.flush()
            writes.append(time.perf_counter() - began)
        actions = sum(what == "start" for what, _ in said)
        kept = [actions, statistics.median(costs), statistics.median(writes)]
        Path(os.environ[COST_FILE]).write_text(json.dumps(kept))

    StepClock.start, StepClock.stop = noted_start, noted_stop  # type: ignore[method-assign]
    StepClock.end = noted_end  # type: ignore[method-assign]
    request = StopRequest()
    request.install()
    run_rank([run], request)


def measure(folder: Path, name: str, options: argparse.Namespace) -> None:
    """Train one case and print the cost of its clock."""
    scale, batch = CASES[name]
    folder.mkdir()
    scan, _ = simulate(SimulationSpec(n_patterns=256, seed=0, n_photons=1e5))
    write_scan(folder / "train.npz", scan, {})
    text = CONFIG.format(file=folder / "train.npz", scale=scale, batch=batch, ranks=options.ranks)
    (folder / "run.yaml").write_text(text)
    loaded = read_run_config(folder / "run.yaml").sound()
    plan = RunPlan(
        world=world_of(loaded.config, 256),
        measurement=MeasurementPlan("steps", options.steps, warm_up_steps=5),
    )
    run = prepare_run(folder / "run", loaded, plan, None)
    attempt = begin_attempt(run, job_id="benchmark", cluster="local", nodes=["here"])
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, "--rank-of", run.path],
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(options.ranks),
                ATTEMPT_VARIABLE: attempt.to_variable(),
                COST_FILE: str(folder / "cost.json"),
            },
            stderr=subprocess.DEVNULL,
        )
        for rank in range(options.ranks)
    ]
    codes = [rank.wait() for rank in ranks]
    if any(codes):
        raise SystemExit(f"the ranks have failed; see {run.path}")
    actions, cost_s, write_s = json.loads((folder / "cost.json").read_text())
    blocks = read_step_times(run, 1)[1 % options.ranks].blocks[5 : options.steps]
    step_s = statistics.median(block.wall_s for block in blocks)
    share = cost_s / step_s + write_s / RANK_ZERO_EVERY_S
    print(f"{name}, {options.ranks} ranks: {1e3 * step_s:.2f} ms a step")
    print(f"  {actions} actions and the hook of the reduction: {1e6 * cost_s:.1f} µs a step")
    print(f"  to write {REPEATS} steps: {1e3 * write_s:.2f} ms, once in {RANK_ZERO_EVERY_S:g} s")
    print(f"  together {100 * share:.3f} % of the time")


def main() -> None:
    """Measure all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rank-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank_of:
        rank_main(options.rank_of)
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(CASES):
            measure(Path(folder) / str(number), name, options)


if __name__ == "__main__":
    main()
