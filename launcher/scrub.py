"""The environment handed to a new job: nothing left over from another one."""

from __future__ import annotations

from collections.abc import Mapping

from launcher.render import STALE_VARIABLES

PREFIXES = ("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_", "PMI_", "PMIX_", "OMPI_", "PTYCHO_DIST_")
KEPT = frozenset({"SLURM_CONF"})
"""Which cluster to talk to; on some sites its only address."""


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without what belongs to another job.

    Variables of an interactive allocation (SLURM_CPU_BIND and the like) leak into jobs submitted
    from inside it and slow or break them; SBATCH_* would override the script's own directives.
    """
    stale = set(STALE_VARIABLES.split())
    return {
        name: value
        for name, value in environ.items()
        if name in KEPT or not (name.startswith(PREFIXES) or name in stale)
    }
