"""The command `ptycho-infer` (`python -m ptycho_dist.inference`): a trained network on a scan."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from ptycho_dist.cli.flags import Flag, add_flags
from ptycho_dist.cli.shared import (
    INFERENCE_FLAGS,
    OUTPUT_DIR_HELP,
    add_common_flags,
    execution_config_of,
    warnings_in_one_line,
)
from ptycho_dist.config.factory import InferencePayload, create_inference_payload
from ptycho_dist.errors import EXIT_RUN_FAILED, RunError, UserError, one_line_errors
from ptycho_dist.runtime.environment import RankEnvironment
from ptycho_dist.runtime.torch_required import require_torch

if TYPE_CHECKING:  # torch takes seconds, and --help needs none
    from ptycho_dist.reconstruction.deliver import Delivered

PROGRAM = "ptycho-infer"
_COLLECTIVE_TIMEOUT = timedelta(minutes=10)

CANONICAL_FLAGS = (
    Flag("--n_images", "inference.n_groups", note="all"),
    Flag("--n_subsample", "inference.n_subsample", note="all"),
    Flag("--neighbor_count", "inference.neighbor_count", note="the run's"),
    Flag("--subsample_seed", "inference.subsample_seed", note="the run's"),
    Flag("--probe", "inference.probe"),
    Flag("--truth", "inference.truth_file", note="NAME.truth.npz beside the data"),
    Flag("--show-positions", "inference.show_positions"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Reconstruct a scan; returns 0, 2 for the user's mistake, or 1 if the reconstruction fails."""
    options = build_parser().parse_args(arguments)
    return one_line_errors(options.debug, lambda: _infer(options))


def _infer(options: argparse.Namespace) -> int:
    place = RankEnvironment.detect()
    with warnings_in_one_line(audible=place.rank == 0):
        payload = _payload(options)
    _require_files(payload)

    require_torch()
    import torch

    from ptycho_dist.reconstruction.infer import infer
    from ptycho_dist.runtime.accelerator import resolve_device

    ranks = place.world_size if place.source == "torchrun" else 1
    rank, local_rank = (place.rank, place.local_rank) if ranks > 1 else (0, 0)
    on_this_node = int(os.environ.get("LOCAL_WORLD_SIZE", ranks)) if ranks > 1 else 1
    execution = payload.execution
    with warnings_in_one_line():
        device = resolve_device(
            execution.accelerator, local_rank=local_rank, tasks_per_node=on_this_node, ranks=ranks
        )
    if ranks > 1:  # the ranks add their sums on the CPU, whatever their device
        torch.distributed.init_process_group("gloo", timeout=_COLLECTIVE_TIMEOUT)
    try:
        inferred = infer(payload.inference, execution, device.torch, rank, ranks)
    except RunError as error:
        if payload.inference.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return EXIT_RUN_FAILED
    if inferred.delivered is not None:
        _say(inferred.delivered, inferred.passed_over, device.kind, options)
    if ranks > 1:
        torch.distributed.destroy_process_group()
    return 0


def _payload(options: argparse.Namespace) -> InferencePayload:
    execution = execution_config_of(options, "inference", PROGRAM)
    overrides = {
        flag.path.rpartition(".")[2]: getattr(options, flag.key) for flag in CANONICAL_FLAGS
    }
    return create_inference_payload(
        options.model_path,
        options.test_data,
        options.output_dir,
        execution_config=execution,
        overrides={**overrides, "debug": options.debug},
        source=PROGRAM,
    )


def _require_files(payload: InferencePayload) -> None:
    """Refuse missing files before importing torch, which takes seconds."""
    inference = payload.inference
    given = (inference.test_data_file, inference.model_path, inference.truth_file)
    for path in filter(None, given):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{path}: no such file or directory (looked at {Path.cwd() / path})"
            ) from None
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read: {error}") from None


def _say(
    delivered: Delivered, passed_over: Sequence[str], kind: str, options: argparse.Namespace
) -> None:
    for reason in passed_over:
        print(f"warning: checkpoint passed over: {reason}", file=sys.stderr)
    found = delivered.metrics["reconstruction"]
    if options.json:
        paths = {
            "object": str(delivered.object_file),
            "picture": str(delivered.picture),
            "metrics": str(delivered.metrics_file),
        }
        print(json.dumps({**paths, "accelerator": kind, **found}))
        return
    print(f"{delivered.object_file}, {delivered.picture.name}, {delivered.metrics_file.name}")
    if options.quiet:
        return
    for name, value in found.items():
        flat = delivered.metrics["flat_guess"][name]
        print(f"{name:<20} {_figure(value):>8}   (flat guess {_figure(flat)})")


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def build_parser() -> argparse.ArgumentParser:
    """Build the parser with every flag of PtychoPINN's inference command, and some of our own."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Reconstruct the object of a scan with a trained network: object.h5, "
        "object.png, metrics.json. On several ranks under torchrun.",
        epilog="Example: ptycho-infer --model_path runs/quickstart-… --test_data demo/test.npz "
        "--output_dir out",
    )
    parser.add_argument(
        "--model_path", required=True, type=Path, metavar="RUN_DIR", help="of the trained network"
    )
    parser.add_argument("--test_data", required=True, type=Path, metavar="NPZ", help="scan file")
    parser.add_argument(
        "--output_dir", required=True, type=Path, metavar="DIR", help=OUTPUT_DIR_HELP
    )
    add_flags(parser, CANONICAL_FLAGS)
    execution = parser.add_argument_group("execution")
    add_flags(execution, INFERENCE_FLAGS)
    add_common_flags(execution, "inference")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    return parser


if __name__ == "__main__":
    sys.exit(main())
