"""Measure how long `ptycho-launch list` takes for many runs.

    python benchmarks/list_runs.py [--runs 1000] [--ranks 4] [--rounds 5] [--profile]

It makes run directories in a temporary folder: of ten, seven have finished, one has failed, one
waits between two attempts and one is running. It prints the seconds of whole commands, each in a
new process: median, minimum and maximum, and the processor time, which a busy machine affects less.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import io
import json
import pstats
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ptycho_dist.rundir.heartbeat import Heartbeat, write_heartbeat
from ptycho_dist.rundir.layout import SUBDIRECTORIES, RunDirectory

RUN_JSON = {"format": 1, "config": {}, "config_sha256": ""}


def make_run(root: Path, place: int, ranks: int) -> None:
    """Make one run directory as launcher, batch script and ranks leave it."""
    day, minute = divmod(place, 1440)
    stamp = f"202601{day + 1:02d}-{minute // 60:02d}{minute % 60:02d}00"
    run = RunDirectory(root / f"bench-{stamp}-{place % 65536:04x}")
    for name in SUBDIRECTORIES:
        (run.path / name).mkdir(parents=True)
    run.run_json.write_text(json.dumps(RUN_JSON))
    job = {"job_id": str(place + 1), "cluster": "slurm", "submitted_at": 1.7e9 + place}
    run.submission_json.write_text(json.dumps({"format": 1, "jobs": [job]}))
    kind = {0: "failed", 1: "requeued", 2: "running"}.get(place % 10, "finished")
    numbers = (1, 2) if kind == "requeued" else (1,)
    for number in numbers:
        ended = kind != "running"
        record = {
            "number": number, "token": "t", "host": "h", "port": 1, "ends_at": 2e9,
            "job_id": job["job_id"], "cluster": "slurm", "nodes": ["n1", "n2"], "step": None,
            "signal_lead_s": 60, "cause": "submit", "started_at": 1.7e9 + place,
            "ended_at": 1.7e9 + place + 60 if ended else None, "exit_code": 0,
            "outcome": kind if kind in ("finished", "failed") else "stopped",
            "ending": {"outcome": "", "cause": "timeout", "reason": "", "step": 7, "node": None},
            "next": {"restart": kind == "requeued", "why": "restart 1 of 10 after timeout"},
        }  # fmt: skip
        (run.attempts / f"{number:03d}.json").write_text(json.dumps(record))
    if kind == "finished":
        run.result_json.write_text("{}")
    for rank in range(ranks):
        progress = {"epoch": 3, "epochs": 9, "step": 7, "total_steps": 90, "patterns_per_s": 10.0}
        write_heartbeat(
            run,
            Heartbeat(
                rank=rank, node="n1", pid=1, attempt=numbers[-1], state="training",
                progress=progress,
            ),
        )  # fmt: skip


def main() -> None:
    """Make the runs, list them and print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--profile", action="store_true", help="show where the time of one listing goes"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for place in range(options.runs):
            make_run(root, place, options.ranks)
        command = [sys.executable, "-m", "launcher", "list", "--runs-dir", str(root)]
        seconds, before = [], resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(options.rounds):
            began = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            seconds.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        lines = len(done.stdout.splitlines()) - 1
        print(
            f"{lines} runs of {options.ranks} ranks listed in {statistics.median(seconds):.2f} s "
            f"(median of {options.rounds}; {min(seconds):.2f} to {max(seconds):.2f} s; processor "
            f"{processor / options.rounds:.2f} s)"
        )
        if options.profile:
            profile(root)


def profile(root: Path) -> None:
    """Print the most expensive functions of one listing in this process."""
    from launcher.cli import main as launch

    profiler = cProfile.Profile()
    with contextlib.redirect_stdout(io.StringIO()):
        profiler.runcall(launch, ["list", "--runs-dir", str(root)])
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(40)


if __name__ == "__main__":
    main()
