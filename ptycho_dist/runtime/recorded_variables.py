"""What of a rank's environment a report of its figures must name."""

from __future__ import annotations

from collections.abc import Mapping

_PREFIXES = ("NCCL_", "GLOO_")
"""Of the libraries that carry what ranks say to each other."""
_NAMES = ("SLURM_CLUSTER_NAME", "SLURM_JOB_PARTITION")
_MOST = 200
"""Characters of a value."""


def recorded_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that change how ranks talk to each other, and where SLURM has put them."""
    return {
        name: value[:_MOST]
        for name, value in sorted(environ.items())
        if name.startswith(_PREFIXES) or name in _NAMES
    }
