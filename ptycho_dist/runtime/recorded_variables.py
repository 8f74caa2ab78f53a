"""The environment variables of a rank that a report of its figures must name."""

from __future__ import annotations

from collections.abc import Mapping

_PREFIXES = ("NCCL_", "GLOO_")
"""Prefixes of the variables of the communication libraries."""
_NAMES = ("SLURM_CLUSTER_NAME", "SLURM_JOB_PARTITION")
_MOST = 200
"""Characters of a value that are kept."""


def recorded_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that change how ranks communicate, and those that name their cluster."""
    return {
        name: value[:_MOST]
        for name, value in sorted(environ.items())
        if name.startswith(_PREFIXES) or name in _NAMES
    }
