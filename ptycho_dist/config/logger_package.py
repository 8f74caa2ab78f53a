"""Which package a logger needs, and whether this Python has it; nothing is imported."""

from __future__ import annotations

import importlib.util

_PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow"}


def missing_logger_package(backend: str) -> str:
    """Why this Python cannot keep a log with `backend`; empty: it can."""
    package = _PACKAGES.get(backend)
    if package is None or importlib.util.find_spec(package) is not None:
        return ""
    return (
        f"{backend} needs the package {package}, which is not installed in the ranks' environment: "
        f"pip install {package}, or use csv"
    )
