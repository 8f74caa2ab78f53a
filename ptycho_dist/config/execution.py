"""How a training is executed: device, precision, optimizer step, loaders, time-outs.

Field names, defaults and rules are those of the PyTorch execution-config contract of
PtychoPINN (ptychodus API spec §4.9) where it has them. A field that nothing consumes yet
is not here: a config that sets it is refused, not ignored.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from ptycho_dist.config.strictness import STRICT

Accelerator = Literal["auto", "cpu", "gpu", "cuda", "tpu", "mps"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PyTorchExecutionConfig:
    """The `execution:` block of run.yaml."""

    accelerator: Annotated[
        Accelerator,
        Field(
            description="Device kind, resolved by each rank. Absent in run.yaml: auto; "
            "absent in Python: cpu."
        ),
    ] = "cpu"
    strategy: Annotated[
        Literal["auto", "ddp"],
        Field(description="auto: DDP for two ranks and more, none for one; ddp: always DDP."),
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
        Literal[
            "Default",
            "Exponential",
            "MultiStage",
            "Adaptive",
            "WarmupCosine",
            "ReduceLROnPlateau",
        ],
        Field(
            description="Course of the step size: Default, constant; Exponential, × 0.95 an epoch; "
            "MultiStage, × 1, 0.3, 0.1 in thirds; Adaptive and ReduceLROnPlateau, × 0.5 after 3 "
            "or × 0.1 after 10 epochs without a better loss; WarmupCosine, up over 5 % of the "
            "steps, then to zero along a cosine."
        ),
    ] = "Default"
    accum_steps: Annotated[
        int, Field(ge=1, le=10**6, description="Micro-batches accumulated in one optimizer step.")
    ] = 1
    gradient_clip_val: Annotated[
        float | None, Field(ge=0, description="Bound of the gradient; none: not clipped.")
    ] = None
    gradient_clip_algorithm: Annotated[
        Literal["norm", "value"],
        Field(description="norm: the global norm is bounded; value: each element."),
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
        Field(ge=1, le=10**6, description="Batches ahead per worker (needs num_workers > 0)."),
    ] = None
    early_stop_patience: Annotated[
        int,
        Field(
            ge=1,
            le=10**9,
            description="Epochs without a better loss after which training ends.",
        ),
    ] = 100
    enable_progress_bar: Annotated[
        bool, Field(description="Lightning's own bar in the log of rank 0.")
    ] = False
    join_timeout_s: Annotated[
        int,
        Field(ge=5, le=3600, description="Seconds a rank may come after the first one."),
    ] = 60
    collective_timeout_s: Annotated[
        int,
        Field(ge=30, le=86400, description="Seconds after which a collective is a failure."),
    ] = 600

    @field_validator("persistent_workers", "prefetch_factor")
    @classmethod
    def _needs_workers(cls, value: bool | int | None, info: ValidationInfo) -> bool | int | None:
        if value and info.data.get("num_workers") == 0:
            raise ValueError("needs num_workers > 0, found num_workers 0")
        return value
