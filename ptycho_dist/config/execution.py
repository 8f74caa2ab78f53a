"""How a training is executed: device, precision, optimizer step, loaders, checkpoints, logs.

Field names, defaults and rules are those of the PyTorch execution-config contract of PtychoPINN
(ptychodus API spec §4.9); specs/execution_config.md is the catalogue. Each field acts, or has one
value and the reason for it: none is accepted and ignored.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from ptycho_dist.config.strictness import STRICT, only

Accelerator = Literal["auto", "cpu", "gpu", "cuda", "tpu", "mps"]
Scheduler = Literal[
    "Default", "Exponential", "MultiStage", "Adaptive", "WarmupCosine", "ReduceLROnPlateau"
]
_COUNT = 10**6


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PyTorchExecutionConfig:
    """The `execution:` block of run.yaml."""

    accelerator: Annotated[
        Accelerator,
        Field(
            description="Device kind, resolved by each rank. Absent in run.yaml and in the "
            "commands: auto; absent in Python: cpu."
        ),
    ] = "cpu"
    devices: Annotated[
        Annotated[int, Field(gt=0, le=_COUNT)] | Literal["auto"],
        Field(
            description="Ranks of a node, one device each. auto (absent in run.yaml and in the "
            "commands): as resources say; a number must agree with them.",
        ),
    ] = 1
    num_nodes: Annotated[
        Annotated[int, Field(gt=0, le=_COUNT)] | Literal["auto"],
        Field(
            description="Nodes. auto (absent in run.yaml and in the commands): as resources say; "
            "a number must agree with them.",
        ),
    ] = 1
    strategy: Annotated[
        Literal["auto", "ddp"],
        Field(
            description="auto: DDP for two ranks and more, none for one; ddp: always DDP. Others "
            "(ddp_spawn, fsdp) start or shard ranks by themselves and are refused."
        ),
    ] = "auto"
    precision: Annotated[
        Literal["32-true", "16-mixed", "bf16-mixed"], Field(description="Arithmetic of the step.")
    ] = "32-true"
    deterministic: Annotated[
        bool | Literal["warn"],
        Field(description="Deterministic algorithms; warn: a warning where there is none."),
    ] = True
    learning_rate: Annotated[float, Field(gt=0, description="Adam's step size.")] = 1e-3
    scheduler: Annotated[
        Scheduler,
        Field(
            description="Course of the step size: Default, constant; Exponential, × 0.95 an epoch; "
            "MultiStage, × 1, 0.3, 0.1 in thirds; Adaptive and ReduceLROnPlateau, × 0.5 after 3 "
            "or × 0.1 after 10 epochs without a better loss; WarmupCosine, up over 5 % of the "
            "steps, then to zero along a cosine."
        ),
    ] = "Default"
    accum_steps: Annotated[
        int, Field(ge=1, le=_COUNT, description="Micro-batches accumulated in one optimizer step.")
    ] = 1
    gradient_clip_val: Annotated[
        float | None, Field(ge=0, description="Bound of the gradient; none or 0: not clipped.")
    ] = None
    gradient_clip_algorithm: Annotated[
        Literal["norm", "value", "agc"],
        Field(
            description="norm: the global norm is bounded; value: each element; agc: the norm of "
            "the gradient of each unit of the network, relative to that of its weights."
        ),
    ] = "norm"
    num_workers: Annotated[
        int,
        Field(ge=0, le=1024, description="Loader processes per rank; 0: the rank reads by itself."),
    ] = 0
    pin_memory: Annotated[
        bool, Field(description="Batches in page-locked memory, for copies to a GPU.")
    ] = False
    persistent_workers: Annotated[
        bool, Field(description="Loader processes live across epochs (needs num_workers > 0).")
    ] = False
    prefetch_factor: Annotated[
        int | None,
        Field(ge=1, le=_COUNT, description="Batches ahead per worker (needs num_workers > 0)."),
    ] = None
    enable_progress_bar: Annotated[
        bool, Field(description="Lightning's own bar in the log of rank 0.")
    ] = False
    enable_checkpointing: Annotated[
        bool,
        Field(
            description="Checkpoints at the end of each epoch, and as often as is said below. "
            "false: none but that of a stop on request, and that of the end."
        ),
    ] = True
    checkpoint_every_n_steps: Annotated[
        int | None,
        Field(ge=1, le=10**9, description="Optimizer steps between checkpoints within an epoch."),
    ] = None
    checkpoint_every_s: Annotated[
        int | None,
        Field(ge=1, le=10**7, description="Seconds after which a checkpoint is due."),
    ] = None
    checkpoint_keep_last: Annotated[
        int, Field(ge=1, le=_COUNT, description="How many of the newest checkpoints stay.")
    ] = 2
    checkpoint_keep_every_n_epochs: Annotated[
        int | None,
        Field(ge=1, le=10**9, description="Of every n-th epoch the checkpoint stays for good."),
    ] = None
    checkpoint_save_top_k: Annotated[
        int,
        Field(
            ge=-1,
            le=_COUNT,
            description="How many of the best checkpoints stay, beside the newest; 0: none; "
            "-1: all.",
        ),
    ] = 1
    checkpoint_monitor_metric: Annotated[
        str,
        Field(
            pattern=r"^([a-z]+_)?(train|val)_loss$",
            description="What best means, for checkpoints, early stopping and schedules that "
            "watch the loss: val_loss, train_loss, or the loss by its own name "
            "(poisson_val_loss). Without validation data: the train loss.",
        ),
    ] = "val_loss"
    checkpoint_mode: Annotated[
        Literal["min", "max"], Field(description="Whether the least or the largest is best.")
    ] = "min"
    early_stop_patience: Annotated[
        int,
        Field(
            ge=1,
            le=10**9,
            description="Epochs without a better monitored value after which training ends.",
        ),
    ] = 100
    logger_backend: Annotated[
        Literal["csv", "tensorboard", "mlflow", "none"],
        Field(
            description="Who keeps the figures of each epoch: csv, metrics/metrics.csv; "
            "tensorboard and mlflow, files of theirs under metrics/ beside that table (their "
            "package has to be installed); none, nobody."
        ),
    ] = "csv"
    recon_log_every_n_epochs: Annotated[
        int | None,
        Field(ge=1, le=10**9, description="Epochs between pictures of patches; none: no pictures."),
    ] = None
    recon_log_num_patches: Annotated[
        int, Field(ge=1, le=256, description="Patches that are drawn, spread over the samples.")
    ] = 4
    recon_log_fixed_indices: Annotated[
        Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, max_length=256)]
        | None,
        Field(strict=False, description="Which samples are drawn, in place of spread ones."),
    ] = None
    recon_log_stitch: Annotated[
        bool, Field(description="The object, stitched over all ranks, is drawn too.")
    ] = False
    recon_log_max_stitch_samples: Annotated[
        int | None,
        Field(ge=1, le=10**12, description="Groups stitched for that picture; none: all."),
    ] = None
    inference_batch_size: Annotated[
        int | None,
        Field(ge=1, le=10**9, description="Groups reconstructed at once; none: 32."),
    ] = None
    middle_trim: Annotated[
        int,
        Field(
            ge=0,
            le=256,
            description="Only the middle n × n pixels of each patch are stitched; 0: all.",
        ),
    ] = 0
    pad_eval: Annotated[
        bool,
        Field(description="false alone: the canvas holds every patch whole."),
        only(False, "the canvas holds every patch whole, so that nothing needs to be padded"),
    ] = False
    join_timeout_s: Annotated[
        int,
        Field(ge=5, le=3600, description="Seconds a rank may come after the first one."),
    ] = 60
    collective_timeout_s: Annotated[
        int,
        Field(
            ge=5,
            le=86400,
            description="Seconds without progress after which the rank that the others wait for is "
            "named, and the job ends.",
        ),
    ] = 600

    @field_validator("logger_backend", mode="before")
    @classmethod
    def _no_logger(cls, value: Any) -> Any:
        return "none" if value is None else value

    @field_validator("checkpoint_every_n_steps", "checkpoint_every_s")
    @classmethod
    def _needs_checkpoints(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("enable_checkpointing") is False:
            raise ValueError("needs enable_checkpointing: true, found false")
        return value

    @field_validator("recon_log_fixed_indices", "recon_log_stitch")
    @classmethod
    def _needs_pictures(cls, value: Any, info: ValidationInfo) -> Any:
        if value and info.data.get("recon_log_every_n_epochs", 1) is None:
            raise ValueError("needs recon_log_every_n_epochs, found none")
        return value

    @field_validator("recon_log_max_stitch_samples")
    @classmethod
    def _needs_stitching(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("recon_log_stitch") is False:
            raise ValueError("needs recon_log_stitch: true, found false")
        return value

    @field_validator("persistent_workers", "prefetch_factor")
    @classmethod
    def _needs_workers(cls, value: bool | int | None, info: ValidationInfo) -> bool | int | None:
        if value and info.data.get("num_workers") == 0:
            raise ValueError("needs num_workers > 0, found num_workers 0")
        return value


def trim_misfit(middle_trim: int, N: int) -> str | None:
    """Why so many middle pixels cannot be cut from patches of N × N; None: they can."""
    if middle_trim <= N and middle_trim % 2 == 0:
        return None
    return f"{middle_trim}, allowed is an even number up to model.N {N}"
