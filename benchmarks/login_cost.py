"""Measure what a command costs the login node, beside the least that it could cost.

    eval "$(python slurm/cluster/cluster.py up)"
    python benchmarks/login_cost.py [--rounds 21]

The commands take turns in one run on an idle private cluster: Python that imports submitit and
pydantic and defines one model; the commands that read a config; and sbatch with the script of the
same run. A job that sleeps on all nodes keeps the others from starting, and each is cancelled
before the next command is timed. The output is the medians of wall time, processor time and peak
memory, with their bounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FLOOR = """
import submitit, pydantic

class Model(pydantic.BaseModel):
    name: str
    nodes: int = 1
"""
PLAN_TIMES, SUBMIT_TIMES, MEMORY_MB = 1.5, 2.0, 150
WAIT_S = 60


@dataclass(frozen=True)
class Cost:
    """Cost of one process and of the children that it has waited for."""

    wall_s: float
    processor_s: float
    peak_mb: float


def cost_of(command: list[str]) -> Cost:
    """Run a command to its end; one that fails ends the benchmark."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            said.seek(0)
            sys.exit(f"{command}: exit {process.returncode}\n{said.read().decode()}")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def cancel_all(name: str) -> None:
    """Cancel the jobs of this benchmark and wait until SLURM has removed them."""
    subprocess.run(["scancel", f"--name={name}"], check=True)
    deadline = time.monotonic() + WAIT_S
    ask = ["squeue", "--noheader", f"--name={name}"]
    while subprocess.run(ask, check=True, capture_output=True).stdout.strip():
        if time.monotonic() > deadline:
            sys.exit(f"jobs named {name} are still there after {WAIT_S} s")
        time.sleep(0.1)


@contextmanager
def all_nodes_taken(name: str) -> Iterator[None]:
    """Occupy all nodes, so that no other job starts meanwhile."""
    nodes = subprocess.run(
        ["sinfo", "--noheader", "--format=%D"], check=True, capture_output=True, text=True
    )
    blocker = ["sbatch", f"--job-name={name}", "--exclusive", "--output=/dev/null"]
    blocker += [f"--nodes={nodes.stdout.split()[0]}", "--wrap=exec sleep 3600"]
    subprocess.run(blocker, check=True, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + WAIT_S
        ask = ["squeue", "--noheader", f"--name={name}", "--states=running"]
        while not subprocess.run(ask, check=True, capture_output=True).stdout.strip():
            if time.monotonic() > deadline:
                sys.exit("the cluster is not idle: its nodes could not be taken")
            time.sleep(0.1)
        yield
    finally:
        subprocess.run(["scancel", f"--name={name}"], check=True)


def main() -> int:
    """Measure and print; returns 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    # As installed, with byte code of all modules: the first round writes what is missing.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    name = f"login-cost-{os.getpid()}"
    launch = [sys.executable, "-m", "launcher"]
    with tempfile.TemporaryDirectory() as folder:
        data, config = Path(folder) / "train.npz", Path(folder) / "run.yaml"
        subprocess.run(
            [sys.executable, "-m", "ptycho_dist.cli.data", "simulate", data, "--n-patterns", "64"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        config.write_text(f"name: {name}\ndata: {{train_data_file: {data}}}\n")
        runs = ["--runs-dir", f"{folder}/runs"]
        script = Path(folder) / "job.sbatch"
        script.write_text(
            subprocess.run(
                [*launch, "script", config, *runs], check=True, capture_output=True, text=True
            ).stdout
        )
        commands = {
            "floor": [sys.executable, "-c", FLOOR],
            "sbatch": ["sbatch", str(script)],
            "help": [*launch, "--help"],
            "validate": [*launch, "validate", str(config)],
            "plan": [*launch, "plan", str(config), *runs],
            "submit": [*launch, "submit", str(config), *runs, "--cluster", "slurm"],
        }
        costs: dict[str, list[Cost]] = {each: [] for each in commands}
        with all_nodes_taken(f"{name}-nodes"):
            for number in range(rounds + 1):
                for each, command in commands.items():
                    cost = cost_of(command)
                    if number:  # the first round fills the caches
                        costs[each].append(cost)
                    if each in ("sbatch", "submit"):
                        cancel_all(name)
    return report(costs)


def report(costs: dict[str, list[Cost]]) -> int:
    """Print the table and the bounds."""
    medians = {
        name: Cost(
            *(
                statistics.median(getattr(cost, field) for cost in of_command)
                for field in ("wall_s", "processor_s", "peak_mb")
            )
        )
        for name, of_command in costs.items()
    }
    print(f"medians of {len(costs['floor'])} rounds\n")
    print(f"{'command':<10}{'wall, s':>9}{'processor, s':>14}{'peak, MB':>10}")
    for name, cost in medians.items():
        print(f"{name:<10}{cost.wall_s:>9.3f}{cost.processor_s:>14.3f}{cost.peak_mb:>10.0f}")
    floor, sbatch = medians["floor"].wall_s, medians["sbatch"].wall_s
    peak = max(cost.peak_mb for cost in medians.values())
    bounds = [
        ("plan / floor", medians["plan"].wall_s / floor, PLAN_TIMES),
        ("submit / (floor + sbatch)", medians["submit"].wall_s / (floor + sbatch), SUBMIT_TIMES),
        ("peak memory, MB", peak, MEMORY_MB),
    ]
    print()
    for what, found, bound in bounds:
        print(f"{what}: {found:.2f}, at most {bound:g}{'' if found <= bound else ': MISSED'}")
    return int(any(found > bound for _, found, bound in bounds))


if __name__ == "__main__":
    sys.exit(main())
