"""Environment variables that belong to one job and must not reach another."""

from __future__ import annotations

from collections.abc import Mapping

STALE_VARIABLES = (
    "MASTER_ADDR MASTER_PORT RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK NODE_RANK "
    "TORCHELASTIC_RUN_ID SLURM_CPU_BIND SLURM_CPU_BIND_LIST SLURM_CPU_BIND_TYPE "
    "SLURM_CPU_BIND_VERBOSE SLURM_MEM_BIND SLURM_GPU_BIND SLURM_DISTRIBUTION "
    "SLURM_MEM_PER_CPU SLURM_MEM_PER_GPU SLURM_EXPORT_ENV"
)
"""Names of variables that an interactive job or a login script leaves; they would mislead ranks."""
PREFIXES = ("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_", "PMI_", "PMIX_", "OMPI_", "PTYCHO_DIST_")
"""Beginnings of the names of such variables."""
ATTEMPT_VARIABLE = "PTYCHO_DIST_ATTEMPT"
"""Name of the variable that passes the attempt from the batch script to its ranks."""
KEPT = frozenset({"SLURM_CONF"})
"""Names that stay although they look like those of a job: the address of the cluster."""


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` without the variables of another job.

    Variables of an interactive allocation (SLURM_CPU_BIND and the like) leak into jobs that are
    submitted from inside it, and slow or break them; SBATCH_* would override the directives of the
    script.
    """
    stale = set(STALE_VARIABLES.split())
    return {
        name: value
        for name, value in environ.items()
        if name in KEPT or not (name.startswith(PREFIXES) or name in stale)
    }
