"""Measure how long the submission of a large array takes, as a whole command.

    python benchmarks/array_submission.py [--members 1000] [--repeats 3]

If SLURM answers (SLURM_CONF), `ptycho-launch submit --array` submits the array and cancels it at
once; use the one-host cluster. Without SLURM the members are planned and their directories made,
and nothing is submitted. Nothing is deleted between the repeats, because ext4 makes directories
slowly for some seconds after many were deleted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

CONFIG = "name: grid\ndata: {{train_data_file: {data}}}\nreconstruct: false\n"
WITHOUT_SLURM = """
import sys
from pathlib import Path
from launcher.arrays.plan import plan_array
from launcher.arrays.prepare import prepare_array
prepare_array(plan_array(Path(sys.argv[1]), [], [sys.argv[2]]), Path(sys.argv[3]))
"""


def slurm_answers() -> bool:
    if shutil.which("scontrol") is None:
        return False
    done = subprocess.run(["scontrol", "ping"], capture_output=True, text=True)
    return " UP" in done.stdout


def wait_for_an_empty_queue(limit_s: float = 120) -> None:
    """Wait until the controller has ended 1 000 tasks, as it would delay the next sbatch."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        time.sleep(5)
        done = subprocess.run(["squeue", "--noheader"], capture_output=True, text=True)
        if done.returncode == 0 and not done.stdout.strip():
            return


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    slurm = slurm_answers()
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        data, config, runs = (Path(folder) / name for name in ("scan.npz", "run.yaml", "runs"))
        subprocess.run(
            [sys.executable, "-m", "ptycho_dist.cli.data", "simulate", str(data),
             "--n-patterns", "64"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        config.write_text(CONFIG.format(data=data))
        axis = f"training.seed={','.join(map(str, range(options.members)))}"
        command = [sys.executable, "-c", WITHOUT_SLURM, str(config), axis, str(runs)]
        if slurm:
            command = [sys.executable, "-m", "launcher", "submit", str(config), "--array", axis,
                       "--cluster", "slurm", "--runs-dir", str(runs), "--json"]  # fmt: skip
        for _ in range(options.repeats):
            began = time.monotonic()
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            seconds.append(time.monotonic() - began)
            if slurm:
                subprocess.run(["scancel", *json.loads(done.stdout)["job_ids"]], check=True)
                wait_for_an_empty_queue()
    what = "submitted to SLURM" if slurm else "planned and made, no SLURM here"
    told = ", ".join(f"{each:.2f}" for each in seconds)
    print(f"{options.members} members {what}: median {median(seconds):.2f} s ({told})")


if __name__ == "__main__":
    main()
