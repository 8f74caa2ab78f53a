"""Whether the package that a logger needs is installed; nothing is imported."""

from __future__ import annotations

import importlib.util

_PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow"}


def missing_logger_package(backend: str) -> str:
    """Return why this Python cannot log with `backend`; empty: it can."""
    package = _PACKAGES.get(backend)
    if package is None or importlib.util.find_spec(package) is not None:
        return ""
    return (
        f"{backend} needs the package {package}, which is not installed in the ranks' environment; "
        f"run `pip install {package}`, or use csv"
    )
