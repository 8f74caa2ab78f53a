"""The command `ptycho-train`: train in this process, on one rank, without a launcher."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ptycho_dist.config.load import load_run_data
from ptycho_dist.config.world import world_of
from ptycho_dist.errors import UserError, one_line_errors
from ptycho_dist.rundir import RunDirectory, prepare_run
from ptycho_dist.rundir.planned import planned_fingerprints
from ptycho_dist.runtime.stop import StopRequest

FLAGS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("--train_data_file", "data.train_data_file", {"metavar": "NPZ"}),
    ("--test_data_file", "data.test_data_file", {"metavar": "NPZ"}),
    ("--n_images", "data.n_groups", {"type": int, "metavar": "GROUPS"}),
    ("--neighbor_count", "data.neighbor_count", {"type": int}),
    ("--size", "model.N", {"type": int, "metavar": "N"}),
    ("--gridsize", "model.gridsize", {"type": int}),
    ("--n_filters_scale", "model.n_filters_scale", {"type": float}),
    ("--max_epochs", "training.nepochs", {"type": int}),
    ("--batch_size", "training.batch_size", {"type": int}),
    ("--seed", "training.seed", {"type": int}),
    ("--accelerator", "execution.accelerator", {}),
    ("--learning-rate", "execution.learning_rate", {"type": float}),
    ("--num-workers", "execution.num_workers", {"type": int}),
    ("--accumulate-grad-batches", "execution.accum_steps", {"type": int}),
    ("--precision", "execution.precision", {}),
    ("--gradient-clip-val", "execution.gradient_clip_val", {"type": float}),
    ("--threads", "resources.cpus_per_task", {"type": int}),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train one run in `--output_dir`, which becomes its run directory.

    Returns:
        Only on a mistake of the user, with 2; the rank itself leaves the process with 0
        finished, 75 stopped on request, 1 failed.
    """
    stop = StopRequest()
    stop.install(signal.SIGINT)  # Ctrl-C stops with a checkpoint, a second one at once
    options = build_parser().parse_args(arguments)
    return one_line_errors(options.debug, lambda: _train(options, stop))


def _train(options: argparse.Namespace, stop: StopRequest) -> int:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        raise UserError(
            "ptycho-train trains on one rank; several are started by "
            "`ptycho-launch submit run.yaml --set resources.tasks_per_node=2`"
        )
    path = Path(os.path.abspath(options.output_dir))  # noqa: PTH100 - keeps symlinks
    run = RunDirectory(path) if options.resume else _prepare(options, path)
    if options.resume and run.result_json.exists():
        raise UserError(f"{run.path}: the run has finished; there is nothing to resume")
    run.config()
    print(f"run directory: {run.path}", flush=True)

    from ptycho_dist.runtime.entry import run_rank

    run_rank([str(run.path)], stop)


def _prepare(options: argparse.Namespace, path: Path) -> RunDirectory:
    data: dict[str, Any] = {"name": "ptycho-train"}
    origins = {}
    for flag, dotted, _ in FLAGS:
        value = getattr(options, flag.lstrip("-").replace("-", "_"))
        if value is not None:
            section, field = dotted.split(".")
            data.setdefault(section, {})[field] = value
            origins[dotted] = flag
    text = yaml.safe_dump(json.loads(json.dumps(data)), sort_keys=False)
    loaded = load_run_data(data, "ptycho-train", text, origins)

    from ptycho_dist.data.header import read_header

    header = read_header(loaded.config.data.train_data_file)
    world = world_of(loaded.config, header.n_patterns)
    plan = {"world": world.to_json(), "data": planned_fingerprints(loaded.config)}
    return prepare_run(path, loaded, plan, None)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ptycho-train",
        description="Train a physics-informed network in this process, on one rank.",
        epilog="Example: ptycho-train --train_data_file scan.npz --output_dir out --max_epochs 20",
    )
    for flag, dotted, options in FLAGS:
        parser.add_argument(flag, help=f"{dotted} of run.yaml", **options)
    parser.add_argument(
        "--output_dir", required=True, type=Path, metavar="DIR", help="becomes the run directory"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the stopped run in --output_dir"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
