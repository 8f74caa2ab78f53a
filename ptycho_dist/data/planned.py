"""Checks on a rank that plan and data files are those of the login node."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from ptycho_dist.config.run import RunConfig
from ptycho_dist.data.fingerprint import data_fingerprint
from ptycho_dist.errors import DataError
from ptycho_dist.rundir.layout import RunDirectory


def plan_digest(run: RunDirectory) -> str:
    """SHA-256 of plan.json as this rank reads it."""
    return hashlib.sha256(run.plan_json.read_bytes()).hexdigest()


def planned_fingerprints(
    config: RunConfig, fingerprint: Callable[[Path], str] = data_fingerprint
) -> dict[str, str]:
    """Field of `data` → fingerprint of its file, for plan.json.

    Args:
        config: names the data files.
        fingerprint: computes it; a caller with many configs passes a cached `data_fingerprint`.

    Raises:
        DataError: a file is not an NPZ container.
    """
    return {field: fingerprint(path) for field, path in config.data.files().items()}


def require_planned_data(run: RunDirectory, config: RunConfig) -> dict[str, str]:
    """Check that the data files are those of the plan.

    Returns:
        Name → shortened fingerprint of each file, on which all ranks must agree.

    Raises:
        DataError: a file has changed since the run was planned, or differs on this node.
    """
    planned = run.plan().data
    found = planned_fingerprints(config)
    for field, fingerprint in found.items():
        if planned.get(field, fingerprint) != fingerprint:
            raise DataError(
                f"data.{field}: {getattr(config.data, field)} is not the file that the run was "
                "planned with; restore it, or submit a new run"
            )
    return {f"data.{field} (contents)": fingerprint[:16] for field, fingerprint in found.items()}
