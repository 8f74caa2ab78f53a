"""The command `ptycho-infer`: apply a trained network to a scan."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.inference import InferenceConfig
from ptycho_dist.errors import EXIT_RUN_FAILED, RunError, UserError, one_line_errors

if TYPE_CHECKING:  # torch takes seconds, and --help needs none
    from ptycho_dist.reconstruction.deliver import Delivered

_COLLECTIVE_TIMEOUT = timedelta(minutes=10)


def main(arguments: Sequence[str] | None = None) -> int:
    """Reconstruct a scan; returns 0, 2 for a mistake of the user, or 1 where it cannot be done."""
    options = build_parser().parse_args(arguments)
    return one_line_errors(options.debug, lambda: _infer(options))


def _infer(options: argparse.Namespace) -> int:
    try:
        inference = InferenceConfig(
            model_path=options.model_path,
            test_data_file=options.test_data,
            output_dir=options.output_dir,
            n_groups=options.n_images,
            neighbor_count=options.neighbor_count,
            subsample_seed=options.subsample_seed,
            probe=options.probe,
            truth_file=options.truth,
            show_positions=options.show_positions,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
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

    import torch

    from ptycho_dist.reconstruction.infer import infer
    from ptycho_dist.runtime.accelerator import resolve_device
    from ptycho_dist.runtime.environment import RankEnvironment

    place = RankEnvironment.detect()
    ranks = place.world_size if place.source == "torchrun" else 1
    rank, local_rank = (place.rank, place.local_rank) if ranks > 1 else (0, 0)
    on_this_node = int(os.environ.get("LOCAL_WORLD_SIZE", ranks)) if ranks > 1 else 1
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        device = resolve_device(
            options.accelerator, local_rank=local_rank, tasks_per_node=on_this_node, ranks=ranks
        )
    for warning in said:
        print(f"warning: {warning.message}", file=sys.stderr)
    if ranks > 1:  # the sums of the ranks meet on the CPU, whatever the device
        torch.distributed.init_process_group("gloo", timeout=_COLLECTIVE_TIMEOUT)
    place_of_rank = torch.device(device.kind, device.index) if device.kind != "cpu" else "cpu"
    try:
        inferred = infer(
            inference,
            PyTorchExecutionConfig(inference_batch_size=options.inference_batch_size),
            torch.device(place_of_rank),
            rank,
            ranks,
        )
    except RunError as error:
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return EXIT_RUN_FAILED
    if inferred.delivered is not None:
        _say(inferred.delivered, inferred.passed_over, device.kind, options.json)
    if ranks > 1:
        torch.distributed.destroy_process_group()
    return 0


def _say(delivered: Delivered, passed_over: Sequence[str], kind: str, as_json: bool) -> None:
    for reason in passed_over:
        print(f"warning: checkpoint passed over: {reason}", file=sys.stderr)
    found = delivered.metrics["reconstruction"]
    if as_json:
        paths = {
            "object": str(delivered.object_file),
            "picture": str(delivered.picture),
            "metrics": str(delivered.metrics_file),
        }
        print(json.dumps({**paths, "accelerator": kind, **found}))
        return
    print(f"{delivered.object_file}, {delivered.picture.name}, {delivered.metrics_file.name}")
    for name, value in found.items():
        flat = delivered.metrics["flat_guess"][name]
        print(f"{name:<20} {_figure(value):>8}   (flat guess {_figure(flat)})")


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ptycho-infer",
        description="Reconstruct the object of a scan with a trained network: object.h5, "
        "object.png, metrics.json. On several ranks under torchrun.",
        epilog="Example: ptycho-infer --model_path runs/quickstart-… --test_data demo/test.npz "
        "--output_dir out",
    )
    parser.add_argument("--model_path", required=True, type=Path, metavar="RUN_DIR")
    parser.add_argument("--test_data", required=True, type=Path, metavar="NPZ")
    parser.add_argument("--output_dir", required=True, type=Path, metavar="DIR")
    parser.add_argument("--n_images", type=int, metavar="GROUPS", help="default: all")
    parser.add_argument("--neighbor_count", type=int, metavar="K", help="default: the run's")
    parser.add_argument("--subsample_seed", type=int, metavar="SEED", help="default: the run's")
    parser.add_argument("--inference-batch-size", type=int, default=32, metavar="GROUPS")
    parser.add_argument(
        "--probe",
        default="auto",
        choices=("auto", "file", "learned"),
        help="of the data file, or learned by the run; auto (default): learned where there is one",
    )
    parser.add_argument(
        "--truth",
        type=Path,
        metavar="NPZ",
        help="truth of a simulated scan; default: NAME.truth.npz beside it",
    )
    parser.add_argument(
        "--show-positions", action="store_true", help="draw the scan positions into the picture"
    )
    parser.add_argument(
        "--accelerator",
        default="auto",
        choices=("auto", "cpu", "gpu", "cuda", "tpu", "mps"),
        help="default: auto",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
