"""The versions that all ranks of a run must share."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "ptycho-dist",
    "torch",
    "lightning",
    "torchmetrics",
    "numpy",
    "scipy",
    "h5py",
    "pydantic",
    "pyyaml",
)
"""What computes, reads the data, or reads the config."""


def torch_libraries() -> dict[str, str]:
    """What torch was built with: CUDA, and the NCCL that it finds; `none` where there is none."""
    import torch

    nccl = "none"
    if torch.cuda.is_available() and torch.distributed.is_nccl_available():
        nccl = ".".join(map(str, torch.cuda.nccl.version()))
    return {"cuda": torch.version.cuda or "none", "nccl": nccl}


def package_versions() -> dict[str, str]:
    """Package → version, with Python; `not installed` where there is none."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions
