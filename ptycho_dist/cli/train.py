"""The command `ptycho-train` (`python -m ptycho_dist.train`): train without a launcher.

Started alone, it starts the ranks that `--devices` requests on this machine. Under torchrun or
srun, each process is one of their ranks.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ptycho_dist.cli.flags import Flag, add_flags, given_flags
from ptycho_dist.cli.shared import (
    OUTPUT_DIR_HELP,
    TRAINING_FLAGS,
    add_common_flags,
    execution_config_of,
    validate_paths,
    warnings_in_one_line,
)
from ptycho_dist.config.contradictions import DataFacts, contradictions
from ptycho_dist.config.factory import create_training_payload
from ptycho_dist.config.faults import ConfigError, Fault
from ptycho_dist.config.load import LoadedConfig
from ptycho_dist.config.logger_package import missing_logger_package
from ptycho_dist.config.overrides import parse_override
from ptycho_dist.config.plain_data import config_values
from ptycho_dist.config.world import World, world_of
from ptycho_dist.data.header import DataHeader, read_header
from ptycho_dist.data.planned import planned_fingerprints
from ptycho_dist.errors import UserError, one_line_errors
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.making import prepare_run
from ptycho_dist.rundir.run_plan import RunPlan
from ptycho_dist.runtime.environment import RankEnvironment
from ptycho_dist.runtime.stop import StopRequest

PROGRAM = "ptycho-train"
OWN_DEFAULT = f"{PROGRAM} default"
N_IMAGES = 512

CANONICAL_FLAGS = (
    Flag("--n_images", "data.n_groups", None, note=f"{N_IMAGES}, or all if there are fewer"),
    Flag("--n_subsample", "data.n_subsample"),
    Flag("--subsample_seed", "data.subsample_seed"),
    Flag("--neighbor_count", "data.neighbor_count"),
    Flag("--block_size", "data.block_size"),
    Flag("--size", "model.N", None, note="that of the training file"),
    Flag("--gridsize", "model.gridsize", 2),
    Flag("--architecture", "model.architecture"),
    Flag("--model_type", "model.model_type"),
    Flag("--n_filters_scale", "model.n_filters_scale"),
    Flag("--amp_activation", "model.amp_activation"),
    Flag("--object-big", "model.object_big"),
    Flag("--probe-big", "model.probe_big"),
    Flag("--probe-mask", "model.probe_mask"),
    Flag("--max_epochs", "training.nepochs", 100),
    Flag("--batch_size", "training.batch_size"),
    Flag("--probe-trainable", "training.probe_trainable"),
    Flag("--sequential_sampling", "training.sequential_sampling"),
    Flag("--seed", "training.seed"),
)
_OF_THE_LAUNCHER = ("resources.", "environment.", "requeue.")
LOSS_WEIGHTS = {
    "poisson": {"training.nll_weight": 1.0, "training.mae_weight": 0.0},
    "mae": {"training.nll_weight": 0.0, "training.mae_weight": 1.0},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train one run in `--output_dir`, which becomes its run directory.

    Returns:
        2 for the user's mistake; the exit code of the ranks if this process started several. A
        process that is itself a rank does not return but exits with its code: 0 finished, 75
        stopped on request, 1 failed.
    """
    stop = StopRequest()
    stop.install(signal.SIGINT)  # the first Ctrl-C stops with a checkpoint, the second at once
    parser = build_parser()
    options = parser.parse_args(arguments)
    given = given_flags(parser, arguments)
    return one_line_errors(options.debug, lambda: _train(options, given, stop))


def _train(options: argparse.Namespace, given: set[str], stop: StopRequest) -> int:  # noqa: RET503
    place = RankEnvironment.detect()
    run = RunDirectory(Path(os.path.abspath(options.output_dir)))  # noqa: PTH100 - keeps symlinks
    if options.resume:
        if run.result_json.exists():
            raise UserError(f"{run.path}: the run has finished, so there is nothing to resume")
        run.config()
        ranks = run.world().ranks
    else:
        with warnings_in_one_line(audible=place.rank == 0):
            loaded, world = _resolve(options, given, place)
        if place.rank == 0:
            _prepare(run, loaded, world)
            if not options.quiet:
                _say_what_was_asked(loaded)
        ranks = world.ranks
    if place.rank == 0:
        print(f"run directory: {run.path}", flush=True)
    if place.world_size == 1 and ranks > 1:
        from ptycho_dist.runtime.local_cluster import LocalJob

        return LocalJob(run, in_foreground=True).run()
    from ptycho_dist.rank.entry import run_rank

    run_rank([str(run.path)], stop)


def _resolve(
    options: argparse.Namespace, given: set[str], place: RankEnvironment
) -> tuple[LoadedConfig, World]:
    """Resolve config and world from the flags, with the same result or error on every rank."""
    execution = execution_config_of(options, "training", PROGRAM)
    if options.train_data_file is None:
        raise UserError(f"{PROGRAM}: --train_data_file is missing (or --resume)")
    files = {"data.train_data_file": options.train_data_file}
    if options.test_data_file is not None:
        files["data.test_data_file"] = options.test_data_file
    headers = {field: read_header(path) for field, path in files.items() if path.is_file()}
    overrides, sources = _overrides(options, given, headers.get("data.train_data_file"))
    for path, value in _world_of_processes(place, execution.devices, execution.num_nodes).items():
        overrides.setdefault(path, value)
        sources.setdefault(path, place.source)
    if execution.accelerator in {"gpu", "cuda"}:
        overrides.setdefault("resources.gpus_per_node", overrides["resources.tasks_per_node"])
        sources.setdefault("resources.gpus_per_node", OWN_DEFAULT)
    payload = create_training_payload(
        options.train_data_file,
        options.output_dir,
        execution_config=execution,
        overrides=overrides,
        sources=sources,
        source=PROGRAM,
    )
    config = payload.loaded.config
    facts = {field: _facts(header) for field, header in headers.items()}
    train = facts["data.train_data_file"]
    world = world_of(config, train.n_patterns)
    faults = list(contradictions(config, world, train, facts.get("data.test_data_file")))
    if missing := missing_logger_package(config.execution.logger_backend):
        faults.append(Fault("execution.logger_backend", missing))
    if faults:
        raise ConfigError(PROGRAM, faults)
    return payload.loaded, world


def _overrides(
    options: argparse.Namespace, given: set[str], header: DataHeader | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the value of each field that the command sets, and the origin of each value."""
    overrides: dict[str, Any] = {}
    sources: dict[str, str] = {"data.train_data_file": "--train_data_file"}
    for flag in TRAINING_FLAGS:
        sources[flag.path] = flag.name if flag.key in given else OWN_DEFAULT
    for path in ("execution.enable_checkpointing", "execution.enable_progress_bar"):
        sources[path] = OWN_DEFAULT

    def put(path: str, value: Any, source: str) -> None:
        overrides[path], sources[path] = value, source

    for flag in CANONICAL_FLAGS:
        value = getattr(options, flag.key)
        if value is not None:
            put(flag.path, value, flag.name if flag.key in given else OWN_DEFAULT)
    for path, value in LOSS_WEIGHTS[options.torch_loss_mode].items():
        put(path, value, "--torch-loss-mode" if "torch_loss_mode" in given else OWN_DEFAULT)
    if options.test_data_file is not None:
        put("data.test_data_file", str(options.test_data_file), "--test_data_file")
    if options.threads is not None:
        put("resources.cpus_per_task", options.threads, "--threads")
    for text in options.overrides:
        path, value = parse_override(text)
        if "." not in path and path not in ("name", "reconstruct"):
            raise UserError(f"--set {text}: expected section.field=value")
        if path.startswith(_OF_THE_LAUNCHER):
            raise UserError(
                f"--set {path}: has no effect here; only ptycho-launch requests resources, "
                "sets the environment and handles the walltime"
            )
        put(path, value, "--set")
    if header is not None:
        if "model.N" not in overrides:
            put("model.N", header.N, "data file")
        if "data.n_groups" not in overrides:
            used = overrides.get("data.n_subsample") or header.n_patterns
            most = min(N_IMAGES, used) if isinstance(used, int) else N_IMAGES
            put("data.n_groups", min(most, header.n_patterns), OWN_DEFAULT)
    return overrides, sources


def _world_of_processes(
    place: RankEnvironment, devices: int | str, num_nodes: int | str
) -> dict[str, int]:
    """Derive `resources` from the processes that were started, or from the flags if alone."""
    if place.world_size == 1:
        if num_nodes not in ("auto", 1):
            raise UserError(
                f"--num-nodes {num_nodes}: this process is alone; start it with srun or torchrun "
                "on each node, or submit a run.yaml with ptycho-launch"
            )
        tasks = 1 if devices == "auto" else int(devices)
        return {"resources.nodes": 1, "resources.tasks_per_node": tasks}
    tasks, rest = divmod(place.world_size, place.nodes)
    if rest:
        raise UserError(
            f"{place.source} started {place.world_size} ranks on {place.nodes} nodes; every node "
            "needs the same number of ranks"
        )
    return {"resources.nodes": place.nodes, "resources.tasks_per_node": tasks}


def _facts(header: DataHeader) -> DataFacts:
    return DataFacts(
        header.n_patterns, header.N, header.has_labels, counts_known=header.unit != "unverified"
    )


def _prepare(run: RunDirectory, loaded: LoadedConfig, world: World) -> None:
    if run.run_json.exists():
        raise UserError(
            f"{run.path}: already contains a run; continue it with --resume, or choose another "
            "--output_dir"
        )
    data = loaded.config.data
    validate_paths(data.train_data_file, data.test_data_file, run.path.parent)
    plan = RunPlan(
        name=loaded.config.name,
        world=world,
        accelerator=loaded.config.execution.accelerator,
        data=planned_fingerprints(loaded.config),
        python=sys.executable,
    )
    prepare_run(run.path, loaded, plan, None)


def _say_what_was_asked(loaded: LoadedConfig) -> None:
    """Print each value that a flag has set; run.json has the others with their origins."""
    values = config_values(loaded.config)
    for path, origin in sorted(loaded.origins.items()):
        if origin.startswith("--"):
            print(f"{path} = {values[path]} ({origin})")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser with every flag of PtychoPINN's training command, and those of the ranks."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Train a physics-informed network: alone, with --devices ranks on this "
        "machine, or as the ranks that torchrun or srun starts.",
        epilog="Examples: ptycho-train --train_data_file scan.npz --output_dir out --devices 2 | "
        "torchrun --nproc-per-node 2 -m ptycho_dist.train --train_data_file scan.npz "
        "--output_dir out",
    )
    files = parser.add_argument_group("data and output")
    files.add_argument(
        "--train_data_file", type=Path, metavar="NPZ", help="scan file of the data contract"
    )
    files.add_argument("--test_data_file", type=Path, metavar="NPZ", help="for validation")
    files.add_argument(
        "--output_dir", required=True, type=Path, metavar="DIR", help=OUTPUT_DIR_HELP
    )
    files.add_argument(
        "--resume", action="store_true", help="continue the stopped run in --output_dir"
    )
    training = parser.add_argument_group("data, model, training")
    add_flags(training, CANONICAL_FLAGS)
    training.add_argument(
        "--torch-loss-mode",
        choices=tuple(LOSS_WEIGHTS),
        default="poisson",
        help="poisson: training.nll_weight 1; mae: training.mae_weight 1 (default: poisson)",
    )
    execution = parser.add_argument_group("execution")
    add_flags(execution, TRAINING_FLAGS)
    add_common_flags(execution, "training")
    execution.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads of a rank [resources.cpus_per_task] (default: 1)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="SECTION.FIELD=VALUE",
        help="set one field of the config, whatever the file or another flag says (repeatable)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
