"""The device that a rank computes on, resolved on the rank itself and never on a login node."""

from __future__ import annotations

import importlib.util
import os
import warnings
from dataclasses import dataclass
from typing import NoReturn

import torch

from ptycho_dist.errors import UserError


@dataclass(frozen=True)
class Device:
    """The device of one rank."""

    kind: str
    """`cpu`, `cuda` or `mps`: what Lightning calls the accelerator."""
    name: str
    """The model, as the driver names it; `cpu` on a CPU."""
    index: int
    """Its number among the devices that the rank sees."""
    identity: str = ""
    """The UUID of the physical GPU, which no two ranks may share.

    It is empty if ranks may share the device, or if this version of torch does not report it.
    """

    @property
    def backend(self) -> str:
        """The collective backend of this device."""
        return "nccl" if self.kind == "cuda" else "gloo"

    @property
    def torch(self) -> torch.device:
        """The device as torch names it, to which tensors are moved."""
        return torch.device("cpu") if self.kind == "cpu" else torch.device(self.kind, self.index)


def resolve_device(accelerator: str, *, local_rank: int, tasks_per_node: int, ranks: int) -> Device:
    """Turn the symbolic accelerator of the config into the device of this rank.

    A rank that sees all GPUs of its node takes the one with its own number; a rank that sees only
    one (`--gpus-per-task=1`) takes that. `auto` takes GPUs only if each rank of the node has one,
    so that all decide alike; otherwise MPS for a single rank, otherwise the CPU, with a warning
    (EC-041 to EC-046).

    Args:
        accelerator: `execution.accelerator`.
        local_rank: the rank's number on its node.
        tasks_per_node: ranks on this node.
        ranks: world size.

    Raises:
        UserError: the device that the config asks for is missing, or cannot join several ranks.
    """
    if accelerator == "tpu":
        _refuse_tpu()
    visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    by_name = accelerator in {"gpu", "cuda"}
    if by_name or (accelerator == "auto" and _one_for_each(visible, tasks_per_node)):
        alone = visible == 1 and tasks_per_node > 1
        index = 0 if alone else local_rank
        if index >= visible:
            raise UserError(
                f"execution.accelerator: {accelerator}: this is task {local_rank} of its node and "
                f"{visible} GPUs are visible (CUDA_VISIBLE_DEVICES="
                f"{os.environ.get('CUDA_VISIBLE_DEVICES', 'unset')!r}); set "
                "resources.gpus_per_node to the tasks per node, or use accelerator: cpu"
            )
        device = _cuda(index, ranks)
        if alone and not device.identity and not _slurm_binds_one_each(tasks_per_node):
            raise UserError(
                f"execution.accelerator: {accelerator}: the {tasks_per_node} ranks of this node "
                f"see one GPU each, and torch {torch.__version__} does not report whether it is "
                "the same one; let each rank see all GPUs of its node, or install a newer torch"
            )
        return device
    mps = torch.backends.mps.is_available()
    if accelerator == "mps" and not mps:
        raise UserError(
            "execution.accelerator: mps is not available on this machine; use auto or cpu"
        )
    if accelerator == "mps" and ranks > 1:
        raise UserError(f"execution.accelerator: mps cannot join {ranks} ranks; use cpu, or 1 rank")
    if mps and ranks == 1 and accelerator != "cpu":
        return Device("mps", "mps", 0)
    if accelerator == "auto":
        warnings.warn(
            f"POLICY-001: {visible} GPUs are visible to the {tasks_per_node} ranks of this node, "
            "this one computes on the CPU",
            stacklevel=2,
        )
    return Device("cpu", "cpu", 0)


def _one_for_each(visible: int, tasks_per_node: int) -> bool:
    """Return whether each rank of this node has its own GPU; all ranks of the node decide alike."""
    if visible >= tasks_per_node:
        return True
    return visible == 1 and _slurm_binds_one_each(tasks_per_node)


def _slurm_binds_one_each(tasks_per_node: int) -> bool:
    on_node = os.environ.get("SLURM_GPUS_ON_NODE", "0")
    enough = on_node.isdecimal() and int(on_node) >= tasks_per_node
    return enough or os.environ.get("SLURM_GPUS_PER_TASK") == "1"


def _cuda(index: int, ranks: int) -> Device:
    name = torch.cuda.get_device_name(index)
    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if ranks > 1 and (" MIG " in f" {name} " or "MIG-" in listed):
        raise UserError(
            f"execution.accelerator: {name} is a MIG slice (CUDA_VISIBLE_DEVICES={listed!r}); "
            f"NCCL cannot join {ranks} ranks on slices: use whole GPUs, or 1 rank"
        )
    identity = getattr(torch.cuda.get_device_properties(index), "uuid", "")
    return Device("cuda", name, index, str(identity))


def _refuse_tpu() -> NoReturn:
    if importlib.util.find_spec("torch_xla") is None:
        reason = "tpu needs torch_xla, which is not installed"
    else:
        reason = "torch_xla is installed, but this version of ptycho-dist does not run on TPUs"
    raise UserError(f"execution.accelerator: {reason}; use auto, cpu or cuda")
