"""The `execution:` block: device, precision, optimizer, data loading, checkpoints and logs.

Field names, defaults and rules follow the PyTorch execution-config contract of PtychoPINN
(ptychodus API spec §4.9); specs/execution_config.md lists them. Every field has an effect or
supports one value only, with a reason: no field is accepted and ignored.
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
            description="Device type; each rank resolves auto to what its node has. Default: "
            "auto in run.yaml and on the command line, cpu in Python."
        ),
    ] = "cpu"
    devices: Annotated[
        Annotated[int, Field(gt=0, le=_COUNT)] | Literal["auto"],
        Field(
            description="Ranks per node, one device each. auto: taken from `resources`; a "
            "number must agree with `resources`. Default: auto in run.yaml and on the command "
            "line, 1 in Python.",
        ),
    ] = 1
    num_nodes: Annotated[
        Annotated[int, Field(gt=0, le=_COUNT)] | Literal["auto"],
        Field(
            description="Number of nodes. auto: taken from `resources`; a number must agree "
            "with `resources`. Default: auto in run.yaml and on the command line, 1 in Python.",
        ),
    ] = 1
    strategy: Annotated[
        Literal["auto", "ddp"],
        Field(
            description="auto: DistributedDataParallel (DDP) with two or more ranks, no "
            "wrapper with one. ddp: always DDP. Strategies that start or shard ranks themselves "
            "(ddp_spawn, fsdp) are refused."
        ),
    ] = "auto"
    precision: Annotated[
        Literal["32-true", "16-mixed", "bf16-mixed"],
        Field(description="Floating-point precision of the training step."),
    ] = "32-true"
    deterministic: Annotated[
        bool | Literal["warn"],
        Field(
            description="Use deterministic algorithms only. warn: warn where an operation has "
            "none. false: allow nondeterministic ones."
        ),
    ] = True
    learning_rate: Annotated[float, Field(gt=0, description="Learning rate of Adam.")] = 1e-3
    scheduler: Annotated[
        Scheduler,
        Field(
            description="Learning-rate schedule. Default: constant. Exponential: × 0.95 per "
            "epoch. MultiStage: × 1, × 0.3 and × 0.1 in the three thirds of training. Adaptive: "
            "× 0.5 after 3 epochs without improvement. ReduceLROnPlateau: × 0.1 after 10 epochs "
            "without improvement. WarmupCosine: linear warm-up over the first 5 % of the steps, "
            "then a cosine decay to 0."
        ),
    ] = "Default"
    accum_steps: Annotated[
        int,
        Field(
            ge=1,
            le=_COUNT,
            description="Number of micro-batches whose gradients are accumulated per "
            "optimizer step.",
        ),
    ] = 1
    gradient_clip_val: Annotated[
        float | None,
        Field(ge=0, description="Limit for gradient clipping. none or 0: no clipping."),
    ] = None
    gradient_clip_algorithm: Annotated[
        Literal["norm", "value", "agc"],
        Field(
            description="norm: clip the global norm. value: clip each element. agc: adaptive "
            "clipping, which limits the gradient norm of each unit relative to the norm of its "
            "weights."
        ),
    ] = "norm"
    num_workers: Annotated[
        int,
        Field(
            ge=0,
            le=1024,
            description="Data-loader processes per rank. 0: the rank loads its data itself.",
        ),
    ] = 0
    pin_memory: Annotated[
        bool,
        Field(description="Put batches into page-locked memory, which speeds up copies to a GPU."),
    ] = False
    persistent_workers: Annotated[
        bool,
        Field(
            description="Keep the data-loader processes alive between epochs. Needs "
            "num_workers > 0."
        ),
    ] = False
    prefetch_factor: Annotated[
        int | None,
        Field(
            ge=1,
            le=_COUNT,
            description="Batches that each data-loader process loads in advance. Needs "
            "num_workers > 0.",
        ),
    ] = None
    enable_progress_bar: Annotated[
        bool, Field(description="Show Lightning's progress bar in the log of rank 0.")
    ] = False
    enable_checkpointing: Annotated[
        bool,
        Field(
            description="Write a checkpoint at the end of each epoch and at the intervals set "
            "below. false: write one only on a requested stop and at the end of training."
        ),
    ] = True
    checkpoint_every_n_steps: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**9,
            description="Optimizer steps between checkpoints within an epoch. none: no "
            "checkpoints by step count.",
        ),
    ] = None
    checkpoint_every_s: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**7,
            description="Seconds after which the next checkpoint is due. none: no checkpoints "
            "by time.",
        ),
    ] = None
    checkpoint_keep_last: Annotated[
        int, Field(ge=1, le=_COUNT, description="Number of newest checkpoints to keep.")
    ] = 2
    checkpoint_keep_every_n_epochs: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**9,
            description="Keep the checkpoint of every n-th epoch permanently. none: keep none "
            "for this reason.",
        ),
    ] = None
    checkpoint_save_top_k: Annotated[
        int,
        Field(
            ge=-1,
            le=_COUNT,
            description="Number of best checkpoints to keep in addition to the newest. 0: "
            "none. -1: all.",
        ),
    ] = 1
    checkpoint_monitor_metric: Annotated[
        str,
        Field(
            pattern=r"^([a-z]+_)?(train|val)_loss$",
            description="Metric that decides which checkpoint is best, when to stop early and "
            "when to lower the learning rate: val_loss, train_loss, or a loss by its full name "
            "such as poisson_val_loss. Without validation data the training loss is used.",
        ),
    ] = "val_loss"
    checkpoint_mode: Annotated[
        Literal["min", "max"],
        Field(
            description="Whether the smallest (min) or the largest (max) value of the metric "
            "is best."
        ),
    ] = "min"
    early_stop_patience: Annotated[
        int,
        Field(
            ge=1,
            le=10**9,
            description="Number of epochs without improvement of the metric after which "
            "training ends.",
        ),
    ] = 100
    logger_backend: Annotated[
        Literal["csv", "tensorboard", "mlflow", "none"],
        Field(
            description="Where the metrics of each epoch are written. csv: "
            "metrics/metrics.csv. tensorboard, mlflow: their own files under metrics/ in "
            "addition to the CSV file; their package must be installed. none: nowhere."
        ),
    ] = "csv"
    recon_log_every_n_epochs: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**9,
            description="Number of epochs between pictures of reconstructed patches. none: no "
            "pictures.",
        ),
    ] = None
    recon_log_num_patches: Annotated[
        int,
        Field(
            ge=1,
            le=256,
            description="Number of patches in each picture, spread evenly over the samples.",
        ),
    ] = 4
    recon_log_fixed_indices: Annotated[
        Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, max_length=256)]
        | None,
        Field(strict=False, description="Indices of the samples to show instead, counted from 0."),
    ] = None
    recon_log_stitch: Annotated[
        bool, Field(description="Also draw the object, stitched from the patches of all ranks.")
    ] = False
    recon_log_max_stitch_samples: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**12,
            description="Largest number of groups to stitch for that picture. none: all.",
        ),
    ] = None
    inference_batch_size: Annotated[
        int | None,
        Field(
            ge=1, le=10**9, description="Number of groups that are reconstructed at once. none: 32."
        ),
    ] = None
    middle_trim: Annotated[
        int,
        Field(
            ge=0,
            le=256,
            description="Stitch only the middle middle_trim × middle_trim pixels of each "
            "patch; an even number. 0: stitch whole patches.",
        ),
    ] = 0
    pad_eval: Annotated[
        bool,
        Field(description="Always false: the canvas already holds every patch completely."),
        only(False, "the canvas holds every patch completely, so nothing needs padding"),
    ] = False
    join_timeout_s: Annotated[
        int,
        Field(ge=5, le=3600, description="Seconds that a rank may join later than the first rank."),
    ] = 60
    collective_timeout_s: Annotated[
        int,
        Field(
            ge=5,
            le=86400,
            description="Seconds without progress after which the rank that the others wait "
            "for is named and the job ends.",
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
            raise ValueError("needs enable_checkpointing: true, but it is false")
        return value

    @field_validator("recon_log_fixed_indices", "recon_log_stitch")
    @classmethod
    def _needs_pictures(cls, value: Any, info: ValidationInfo) -> Any:
        if value and info.data.get("recon_log_every_n_epochs", 1) is None:
            raise ValueError("needs recon_log_every_n_epochs, but it is none")
        return value

    @field_validator("recon_log_max_stitch_samples")
    @classmethod
    def _needs_stitching(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("recon_log_stitch") is False:
            raise ValueError("needs recon_log_stitch: true, but it is false")
        return value

    @field_validator("persistent_workers", "prefetch_factor")
    @classmethod
    def _needs_workers(cls, value: bool | int | None, info: ValidationInfo) -> bool | int | None:
        if value and info.data.get("num_workers") == 0:
            raise ValueError("needs num_workers > 0, but it is 0")
        return value


def trim_misfit(middle_trim: int, N: int) -> str | None:
    """Return why `middle_trim` pixels cannot be cut from N × N patches; None: they can."""
    if middle_trim <= N and middle_trim % 2 == 0:
        return None
    return f"must be an even number up to model.N {N}, found {middle_trim}"
