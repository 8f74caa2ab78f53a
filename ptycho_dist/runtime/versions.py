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
"""Packages that compute, read the data or read the config."""


def torch_libraries() -> dict[str, str]:
    """Return the versions of torch's CUDA and of NCCL; `none`: there is none."""
    import torch

    nccl = "none"
    if torch.cuda.is_available() and torch.distributed.is_nccl_available():
        nccl = ".".join(map(str, torch.cuda.nccl.version()))
    return {"cuda": torch.version.cuda or "none", "nccl": nccl}


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of each package; `not installed`: there is none."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions
