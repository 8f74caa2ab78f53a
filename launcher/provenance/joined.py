"""What rank 0 recorded of itself when it joined: packages, environment, device, backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launcher.provenance.texts import text_of, texts_of
from ptycho_dist.rundir.checked_json import count


@dataclass(frozen=True)
class Joined:
    """The event `joined` of a rank; empty texts: not recorded."""

    versions: dict[str, str]
    """Package → version."""
    variables: dict[str, str]
    """Environment variables of NCCL, gloo and SLURM."""
    device: str
    """`cpu` or `cuda`."""
    device_name: str
    """The model of the device."""
    strategy: str
    backend: str
    """Backend of torch.distributed."""
    threads: int | None


def joined_of(event: Mapping[str, Any]) -> Joined:
    """The facts in an event `joined`; untrusted entries that are damaged are left out."""
    return Joined(
        versions=texts_of(event.get("versions")),
        variables=texts_of(event.get("variables")),
        device=text_of(event.get("device")),
        device_name=text_of(event.get("device_name")),
        strategy=text_of(event.get("strategy")),
        backend=text_of(event.get("backend")),
        threads=count(event, "threads"),
    )
