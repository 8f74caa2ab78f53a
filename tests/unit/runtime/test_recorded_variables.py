"""The environment variables that a rank records."""

from ptycho_dist.runtime.recorded_variables import recorded_variables


def test_only_what_changes_how_ranks_talk_is_recorded():
    """SC-070"""
    kept = {
        "NCCL_SOCKET_IFNAME": "hsn0",
        "GLOO_SOCKET_IFNAME": "lo",
        "SLURM_CLUSTER_NAME": "c",
        "SLURM_JOB_PARTITION": "gpu",
    }
    others = {"WANDB_API_KEY": "x", "SLURM_JOB_ACCOUNT": "m1", "PATH": "/bin", "MY_NCCL_": "1"}
    assert recorded_variables(others | kept) == kept
    assert len(recorded_variables({"NCCL_TOPO": "x" * 10**6})["NCCL_TOPO"]) == 200
