"""Compare the speed of training under different settings of the execution config.

    python benchmarks/execution_figures.py [--epochs 3] [--n-patterns 512] [CASE …]

Each case is one `ptycho-train` on the same simulated scan. The table shows patterns/s of the
fastest epoch after the first, the ratio to the first case, seconds from start to end, and the last
loss. Cases run one after another, so that they do not share the cores.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CASES: dict[str, list[str]] = {
    "1 rank": [],
    "2 ranks": ["--devices", "2"],
    "1 rank, 2 threads": ["--threads", "2"],
    "bf16-mixed": ["--precision", "bf16-mixed"],
    "2 accumulated": ["--accumulate-grad-batches", "2"],
    "agc": ["--gradient-clip-algorithm", "agc", "--gradient-clip-val", "0.1"],
    "2 workers": ["--num-workers", "2", "--no-deterministic"],
    "not deterministic": ["--no-deterministic"],
}


def run(data: Path, out: Path, epochs: int, words: list[str]) -> tuple[float, float, float]:
    """Return patterns/s of the fastest epoch after the first, total seconds, and last loss."""
    command = [
        sys.executable, "-m", "ptycho_dist.train", "--train_data_file", str(data),
        "--output_dir", str(out), "--max_epochs", str(epochs), "--gridsize", "1",
        "--n_filters_scale", "1.0", "--quiet", "--set", "reconstruct=false", *words,
    ]  # fmt: skip
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    with (out / "metrics" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    rate = max(float(row["patterns_per_s"]) for row in rows[1:])
    return rate, seconds, float(rows[-1]["train_loss"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--n-patterns", type=int, default=512)
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "scan.npz"
        subprocess.run(
            [
                sys.executable, "-m", "ptycho_dist.cli.data", "simulate", str(data),
                "--n-patterns", str(options.n_patterns),
            ],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        print("| case | patterns/s | ratio | total seconds | last loss |")
        print("| --- | --- | --- | --- | --- |")
        first = None
        for number, case in enumerate(options.cases):
            rate, seconds, loss = run(data, Path(folder) / str(number), options.epochs, CASES[case])
            first = first or rate
            print(
                f"| {case} | {rate:.0f} | {rate / first:.2f} | {seconds:.1f} | {loss:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
