"""Which device this rank computes on: resolved here, on the rank, never on a login node."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

import torch

from ptycho_dist.errors import UserError


@dataclass(frozen=True)
class Device:
    """A resolved device."""

    kind: str
    """`cpu`, `cuda` or `mps`: what Lightning calls the accelerator."""
    name: str
    """The model, as the driver names it; `cpu` on a CPU."""
    index: int

    @property
    def backend(self) -> str:
        """The collective backend of this device."""
        return "nccl" if self.kind == "cuda" else "gloo"


def resolve_device(accelerator: str, *, local_rank: int, tasks_per_node: int, ranks: int) -> Device:
    """Turn the symbolic accelerator of the config into the device of this rank.

    Args:
        accelerator: `execution.accelerator`.
        local_rank: the rank's number on its node; the index of its GPU, all being visible.
        tasks_per_node: ranks on this node; `auto` takes GPUs only where each has one, so that
            all ranks of a node decide alike.
        ranks: world size.

    Raises:
        UserError: the device that the config asks for is not here, or cannot join several ranks.
    """
    if accelerator == "tpu":
        raise UserError("execution.accelerator: tpu needs torch_xla, which is not supported")
    visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if accelerator in {"gpu", "cuda"} or (accelerator == "auto" and visible >= tasks_per_node):
        if local_rank >= visible:
            raise UserError(
                f"execution.accelerator: {accelerator}: this is task {local_rank} of its node and "
                f"{visible} GPUs are visible (CUDA_VISIBLE_DEVICES="
                f"{os.environ.get('CUDA_VISIBLE_DEVICES', 'unset')!r}); set "
                "resources.gpus_per_node to the tasks per node, or use accelerator: cpu"
            )
        return Device("cuda", torch.cuda.get_device_name(local_rank), local_rank)
    if accelerator == "mps" or (accelerator == "auto" and torch.backends.mps.is_available()):
        if not torch.backends.mps.is_available():
            raise UserError("execution.accelerator: mps is not available on this machine")
        if ranks == 1:
            return Device("mps", "mps", 0)
        if accelerator == "mps":
            raise UserError(f"execution.accelerator: mps cannot join {ranks} ranks; use cpu")
    if accelerator == "auto":
        warnings.warn(
            f"POLICY-001: {visible} GPUs are visible to the {tasks_per_node} ranks of this node, "
            "this one computes on the CPU",
            stacklevel=2,
        )
    return Device("cpu", "cpu", 0)
