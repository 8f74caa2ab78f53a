"""Helpers of `ptycho-train` and `ptycho-infer` that the execution-config contract names.

`resolve_accelerator`, `build_execution_config_from_args` and `validate_paths` have the signatures
of PtychoPINN's `ptycho_torch/cli/shared.py`. The commands parse and delegate; only this module
builds an execution config (EC-030).
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from ptycho_dist.cli.flags import Flag
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.faults import ConfigError, faults_of
from ptycho_dist.config.load import front_end_execution
from ptycho_dist.errors import UserError

TRAINING_FLAGS = (
    Flag("--accelerator", "execution.accelerator"),
    Flag("--devices", "execution.devices"),
    Flag("--num-nodes", "execution.num_nodes"),
    Flag("--strategy", "execution.strategy"),
    Flag("--precision", "execution.precision"),
    Flag("--deterministic", "execution.deterministic"),
    Flag("--learning-rate", "execution.learning_rate"),
    Flag("--scheduler", "execution.scheduler"),
    Flag("--accumulate-grad-batches", "execution.accum_steps"),
    Flag("--gradient-clip-val", "execution.gradient_clip_val"),
    Flag("--gradient-clip-algorithm", "execution.gradient_clip_algorithm"),
    Flag("--num-workers", "execution.num_workers"),
    Flag("--prefetch-factor", "execution.prefetch_factor"),
    Flag("--pin-memory", "execution.pin_memory"),
    Flag("--persistent-workers", "execution.persistent_workers"),
    Flag("--checkpoint-save-top-k", "execution.checkpoint_save_top_k"),
    Flag("--checkpoint-monitor", "execution.checkpoint_monitor_metric"),
    Flag("--checkpoint-mode", "execution.checkpoint_mode"),
    Flag("--early-stop-patience", "execution.early_stop_patience"),
    Flag("--logger", "execution.logger_backend"),
)
"""Flags of `ptycho-train` that set a field of the execution config."""

INFERENCE_FLAGS = (
    Flag("--accelerator", "execution.accelerator"),
    Flag("--num-workers", "execution.num_workers"),
    Flag("--inference-batch-size", "execution.inference_batch_size"),
    Flag("--middle-trim", "execution.middle_trim"),
)
"""Flags of `ptycho-infer` that set a field of the execution config."""

OUTPUT_DIR_HELP = "directory that receives everything; of a training it becomes the run directory"

MODES = {"training": TRAINING_FLAGS, "inference": INFERENCE_FLAGS}


def add_common_flags(
    parser: argparse._ActionsContainer, mode: Literal["training", "inference"]
) -> None:
    """Add the flags of both commands that have no field of their own, including deprecated ones."""
    if mode == "training":
        switch = parser.add_mutually_exclusive_group()
        switch.add_argument(
            "--enable-checkpointing",
            dest="enable_checkpointing",
            action="store_true",
            default=True,
            help="commit a checkpoint at the end of each epoch [execution.enable_checkpointing] "
            "(default: True)",
        )
        switch.add_argument(
            "--disable-checkpointing",
            dest="enable_checkpointing",
            action="store_false",
            default=True,
            help="commit a checkpoint only at a stop and at the end",
        )
        parser.add_argument(
            "--disable_mlflow",
            action="store_true",
            help="deprecated; use --logger none --quiet",
        )
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="print no progress bar and no figures [execution.enable_progress_bar]",
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        help="deprecated; use --accelerator (where cuda is called gpu), which takes precedence",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def resolve_accelerator(accelerator: str = "auto", device: str | None = None) -> str:
    """Return the accelerator that the flags request, including the deprecated `--device`.

    A given `--device` causes a DeprecationWarning.

    Args:
        accelerator: Value of `--accelerator`; anything but `auto` takes precedence.
        device: Value of `--device`, `cpu` or `cuda`; None if it was not given.
    """
    if device is None:
        return accelerator
    if accelerator != "auto":
        warnings.warn(
            f"--device is deprecated; {device} is ignored because --accelerator is {accelerator}",
            DeprecationWarning,
            stacklevel=2,
        )
        return accelerator
    resolved = "cpu" if device == "cpu" else "gpu"
    warnings.warn(
        f"--device is deprecated; use --accelerator {resolved}", DeprecationWarning, stacklevel=2
    )
    return resolved


def build_execution_config_from_args(
    args: argparse.Namespace, mode: str = "training"
) -> PyTorchExecutionConfig:
    """Build the execution config that parsed flags request.

    Flags that `args` lacks have the defaults of the commands, so the accelerator is `auto`. It
    warns of deprecated flags, and of loader workers together with determinism.

    Args:
        args: Result of a command's parser.
        mode: `training` or `inference`, which selects the flags.

    Raises:
        ValueError: The mode is unknown, or a value is not allowed; the message names the field,
            the value and what is allowed.
    """
    if mode not in MODES:
        raise ValueError(f"mode: {mode!r}, allowed are {', '.join(MODES)}")
    values = front_end_execution() | {
        flag.path.rpartition(".")[2]: getattr(args, flag.key, flag.resolved_default)
        for flag in MODES[mode]
    }
    values["accelerator"] = resolve_accelerator(
        values["accelerator"], getattr(args, "device", None)
    )
    quiet = bool(getattr(args, "quiet", False))
    if mode == "training":
        values["enable_checkpointing"] = getattr(args, "enable_checkpointing", True)
        if getattr(args, "disable_mlflow", False):
            warnings.warn(
                "--disable_mlflow is deprecated; use --logger none --quiet",
                DeprecationWarning,
                stacklevel=2,
            )
            quiet, values["logger_backend"] = True, "none"
        if values["deterministic"] and values["num_workers"]:
            warnings.warn(
                f"deterministic with {values['num_workers']} workers: the samples are the same as "
                "without workers, but reading them may be slower than with --num-workers 0",
                UserWarning,
                stacklevel=2,
            )
    return PyTorchExecutionConfig(**values, enable_progress_bar=not quiet)


def execution_config_of(
    options: argparse.Namespace, mode: str, program: str
) -> PyTorchExecutionConfig:
    """Call `build_execution_config_from_args` for a command and name faults by their fields.

    Raises:
        ConfigError: Values are not allowed; it lists every one.
    """
    try:
        return build_execution_config_from_args(options, mode)
    except ValidationError as error:
        raise ConfigError(program, list(faults_of(error, ("execution",)))) from None


def validate_paths(train_file: Path | None, test_file: Path | None, output_dir: Path) -> None:
    """Check that the files exist and create the output folder.

    Args:
        train_file: Training file, or None.
        test_file: Test file, or None.
        output_dir: Folder to create, with its parents, if it is missing.

    Raises:
        MissingFile: A file does not exist (this is a FileNotFoundError); nothing was created.
        UserError: The folder cannot be created.
    """
    for name, path in (("training", train_file), ("test", test_file)):
        if path is not None and not Path(path).is_file():
            what = "a directory" if Path(path).is_dir() else "no such file"
            raise MissingFile(f"{name} data file: {what}: {Path.cwd() / path}")
    try:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output_dir}: cannot be created: {error.strerror}") from None


class MissingFile(UserError, FileNotFoundError):
    """A data file does not exist."""


@contextmanager
def warnings_in_one_line(audible: bool = True) -> Iterator[None]:
    """Print warnings as one line, `warning: …`, on stderr, including DeprecationWarnings.

    Args:
        audible: Whether this rank prints them.
    """

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if audible:
            print(f"warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", DeprecationWarning)
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield
