"""What `ptycho-train` and `ptycho-infer` share: the CLI helpers of the execution-config contract.

`resolve_accelerator`, `build_execution_config_from_args` and `validate_paths` have the signatures
of PtychoPINN's `ptycho_torch/cli/shared.py`. The commands parse and delegate; an execution config
is built here and nowhere else (EC-030).
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
"""Flags of `ptycho-train` that stand for a field of the execution config."""

INFERENCE_FLAGS = (
    Flag("--accelerator", "execution.accelerator"),
    Flag("--num-workers", "execution.num_workers"),
    Flag("--inference-batch-size", "execution.inference_batch_size"),
    Flag("--middle-trim", "execution.middle_trim"),
)
"""Flags of `ptycho-infer` that stand for a field of the execution config."""

OUTPUT_DIR_HELP = "directory that receives everything; of a training it becomes the run directory"

MODES = {"training": TRAINING_FLAGS, "inference": INFERENCE_FLAGS}


def add_common_flags(
    parser: argparse._ActionsContainer, mode: Literal["training", "inference"]
) -> None:
    """The flags of both commands that are no field of their own, the deprecated ones included."""
    if mode == "training":
        switch = parser.add_mutually_exclusive_group()
        switch.add_argument(
            "--enable-checkpointing",
            dest="enable_checkpointing",
            action="store_true",
            default=True,
            help="a checkpoint at the end of each epoch [execution.enable_checkpointing] "
            "(default: True)",
        )
        switch.add_argument(
            "--disable-checkpointing",
            dest="enable_checkpointing",
            action="store_false",
            default=True,
            help="one at a stop and at the end alone",
        )
        parser.add_argument(
            "--disable_mlflow",
            action="store_true",
            help="deprecated: --logger none --quiet",
        )
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="no progress bar and no figures [execution.enable_progress_bar]",
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        help="deprecated: --accelerator (cuda is gpu there); not looked at beside --accelerator",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def resolve_accelerator(accelerator: str = "auto", device: str | None = None) -> str:
    """The accelerator that the flags ask for, the deprecated `--device` among them.

    Args:
        accelerator: of `--accelerator`; anything but `auto` wins.
        device: of `--device`: `cpu` or `cuda`; None: not given. Warns (DeprecationWarning).
    """
    if device is None:
        return accelerator
    if accelerator != "auto":
        warnings.warn(
            f"--device is deprecated, and {device} is not looked at beside --accelerator "
            f"{accelerator}",
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
    """The execution config that parsed flags ask for.

    Flags that `args` does not have are at their defaults: those of the commands, so that the
    accelerator is `auto`. Warns of deprecated flags, and of workers beside determinism.

    Args:
        args: what the parser of a command gave.
        mode: `training` or `inference`: whose flags count.

    Raises:
        ValueError: another mode; or a value is not allowed: which field, which value, and what is.
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
                "without, and reading them may be slower than --num-workers 0",
                UserWarning,
                stacklevel=2,
            )
    return PyTorchExecutionConfig(**values, enable_progress_bar=not quiet)


def execution_config_of(
    options: argparse.Namespace, mode: str, program: str
) -> PyTorchExecutionConfig:
    """`build_execution_config_from_args` for a command: what is wrong is said in its words.

    Raises:
        ConfigError: with every value that is not allowed.
    """
    try:
        return build_execution_config_from_args(options, mode)
    except ValidationError as error:
        raise ConfigError(program, list(faults_of(error, ("execution",)))) from None


def validate_paths(train_file: Path | None, test_file: Path | None, output_dir: Path) -> None:
    """Check that the files are there and make the output folder.

    Args:
        train_file, test_file: None: there is none to look at.
        output_dir: made with its parents where it is missing.

    Raises:
        MissingFile: (a FileNotFoundError) a file is not there; nothing was made.
        UserError: the folder cannot be made.
    """
    for name, path in (("training", train_file), ("test", test_file)):
        if path is not None and not Path(path).is_file():
            what = "a directory" if Path(path).is_dir() else "no such file"
            raise MissingFile(f"{name} data file: {what}: {Path.cwd() / path}")
    try:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output_dir}: cannot be made: {error.strerror}") from None


class MissingFile(UserError, FileNotFoundError):
    """A data file that is not there."""


@contextmanager
def warnings_in_one_line(audible: bool = True) -> Iterator[None]:
    """Warnings as a person reads them: `warning: …` on stderr, DeprecationWarnings too.

    Args:
        audible: whether this rank is the one that says them.
    """

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if audible:
            print(f"warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", DeprecationWarning)
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield
