"""The versions that all ranks of a run must share."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("ptycho-dist", "torch", "lightning", "numpy")


def package_versions() -> dict[str, str]:
    """Package → version, with Python; `not installed` where there is none."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions
