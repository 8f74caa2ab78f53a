"""The command `ptycho-infer`: apply a trained network to a scan."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from ptycho_dist.config.inference import InferenceConfig
from ptycho_dist.errors import UserError, one_line_errors


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict object patches; returns 0, or 2 for a mistake of the user."""
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
            batch_size=options.inference_batch_size,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    for path in (inference.test_data_file, inference.model_path):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{path}: no such file or directory (looked at {Path.cwd() / path})"
            ) from None
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read: {error}") from None

    import torch

    from ptycho_dist.reconstruct import predict_patches
    from ptycho_dist.runtime.accelerator import resolve_device

    device = resolve_device(options.accelerator, local_rank=0, tasks_per_node=1, ranks=1)
    prediction = predict_patches(inference, torch.device(device.kind))
    for reason in prediction.passed_over:
        print(f"warning: checkpoint passed over: {reason}", file=sys.stderr)
    if options.json:
        print(
            json.dumps(
                {
                    "path": str(prediction.path),
                    "patches": prediction.patches,
                    "data_consistency": prediction.data_consistency,
                    "accelerator": device.kind,
                }
            )
        )
    else:
        print(f"{prediction.path}: {prediction.patches} object patches")
        print(f"data consistency R = {prediction.data_consistency:.4g} (0 is perfect)")
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ptycho-infer",
        description="Predict the object patches of a scan with a trained network.",
        epilog="Example: ptycho-infer --model_path runs/quickstart-… --test_data demo/test.npz "
        "--output_dir out",
    )
    parser.add_argument("--model_path", required=True, type=Path, metavar="RUN_DIR")
    parser.add_argument("--test_data", required=True, type=Path, metavar="NPZ")
    parser.add_argument("--output_dir", required=True, type=Path, metavar="DIR")
    parser.add_argument("--n_images", type=int, metavar="GROUPS", help="default: all")
    parser.add_argument("--neighbor_count", type=int, metavar="K", help="default: the run's")
    parser.add_argument("--inference-batch-size", type=int, default=16, metavar="GROUPS")
    parser.add_argument(
        "--accelerator",
        default="auto",
        choices=("auto", "cpu", "gpu", "cuda", "tpu", "mps"),
        help="default: auto",
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser
