"""No variable of another job reaches a new one (specs/launch_plan.md LP-048)."""

from ptycho_dist.attempts.job_variables import clean_environment


def test_only_the_address_of_the_cluster_survives():
    inherited = {
        "SLURM_CONF": "/etc/slurm.conf",
        "SLURM_JOB_ID": "7",
        "SLURM_CPU_BIND": "quiet,mask_cpu:0x1",
        "SBATCH_PARTITION": "other",
        "SRUN_DEBUG": "3",
        "SUBMITIT_EXECUTOR": "slurm",
        "PTYCHO_DIST_ATTEMPT": "{}",
        "MASTER_ADDR": "old",
        "WORLD_SIZE": "9",
        "PMI_RANK": "1",
        "PATH": "/bin",
        "HOME": "/home/a",
        "MY_SLURM_NOTE": "kept",
    }
    assert set(clean_environment(inherited)) == {"SLURM_CONF", "PATH", "HOME", "MY_SLURM_NOTE"}
