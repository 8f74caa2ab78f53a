"""What to do about each class of causes: a field of run.yaml to change, and the next command.

`{run}`, `{rank}` and `{node}` are filled in. `resume` is advised only with fields that `resume`
accepts; a change of any other field needs a new run.
"""

from __future__ import annotations

ADVICE: dict[str, tuple[str, ...]] = {
    "not_failed": ("nothing to fix; `ptycho-launch status {run}` shows how far the run is",),
    "cancelled": ("to continue where it stopped: `ptycho-launch resume {run}`",),
    "walltime": (
        "to continue from the newest checkpoint: `ptycho-launch resume {run}`; to give it more "
        "time, add `--set resources.time=…`",
        "to have runs continue automatically, add timeout to requeue.on",
        "if the last checkpoint is old, raise requeue.signal_lead_s or set "
        "execution.checkpoint_every_s",
    ),
    "preempted": (
        "to continue from the newest checkpoint: `ptycho-launch resume {run}`",
        "to have runs continue automatically, add preempt to requeue.on; or choose a "
        "resources.partition or resources.qos that is not preempted",
    ),
    "node_failure": (
        "to continue on other nodes: `ptycho-launch resume {run}`; to have runs do so "
        "automatically, add node_fail to requeue.on",
        "report to your site that {node} was lost; `sinfo --list-reasons` may say why",
    ),
    "crash_loop": (
        "read the log of rank {rank}: `ptycho-launch logs {run} --rank {rank}`; fix the error, "
        "then `ptycho-launch resume {run}`",
    ),
    "unknown": (
        "read the log of rank {rank}: `ptycho-launch logs {run} --rank {rank}`",
        "if the error may have been a coincidence, try again: `ptycho-launch resume {run}`",
    ),
    "module_not_found": (
        "list the modules of the site (`module avail`, `module spider NAME`), then "
        "`ptycho-launch resume {run} --set 'environment.modules=[…]'`",
    ),
    "venv_missing": (
        "create the environment in a place that all nodes see, or name another one: "
        "`ptycho-launch resume {run} --set environment.venv=…`",
    ),
    "setup_failed": (
        "run the lines of environment.setup by hand on a compute node, fix the one that fails, "
        "then `ptycho-launch resume {run} --set 'environment.setup=[…]'`",
    ),
    "config_changed": (
        "undo the change in run.json; to change a field such as resources.time, use "
        "`ptycho-launch resume {run} --set …`, and for any other field a new "
        "`ptycho-launch submit`",
    ),
    "data_changed": (
        "restore the original file (data.train_data_file, data.test_data_file), or start a new "
        "run with the new data: `ptycho-launch submit`",
    ),
    "wrong_world": (
        "start the run with `ptycho-launch resume {run}`, not with srun and another --ntasks; the "
        "number of ranks is resources.nodes × resources.tasks_per_node",
    ),
    "gpu_out_of_memory": (
        "submit a new run with half of training.batch_size and twice execution.accum_steps, which "
        "keeps the global batch: `ptycho-launch submit CONFIG --set training.batch_size=… --set "
        "execution.accum_steps=…`",
        "or halve the memory of activations with execution.precision=bf16-mixed, or ask for "
        "larger GPUs with resources.constraint; `nvidia-smi` on {node} shows whether another job "
        "uses the GPU",
    ),
    "shared_memory_full": (
        "load the data without worker processes: `ptycho-launch resume {run} --set "
        "execution.num_workers=0`",
        "in a container, bind the /dev/shm of the node (environment)",
    ),
    "host_out_of_memory": (
        "ask for more memory: `ptycho-launch resume {run} --set resources.mem_per_node=…`; or "
        "use less of it, without worker processes: `--set execution.num_workers=0`",
        "or put fewer ranks on each node (resources.tasks_per_node) and use more resources.nodes",
    ),
    "disk_full": (
        "free space or quota in the file systems of the run directory and of temporary files "
        "(`df -h`, `quota`, `lfs quota`), then `ptycho-launch resume {run}`",
        "keep fewer checkpoints: execution.checkpoint_keep_last, execution.checkpoint_save_top_k",
    ),
    "file_system": (
        "check whether {node} still has the file system, and report it to your site; then "
        "`ptycho-launch resume {run}`; new runs can go to another place with `--runs-dir`",
    ),
    "driver_too_old": (
        "install a build of torch for the GPU driver of the nodes (`nvidia-smi` on {node} shows "
        "it; https://pytorch.org) in environment.venv, or load other environment.modules, then "
        "`ptycho-launch resume {run}`",
    ),
    "library_mismatch": (
        "build the environment on a compute node of this kind, or load the compiler's module "
        "(environment.modules), then `ptycho-launch resume {run}`",
    ),
    "import_error": (
        "install the missing package for the Python of the ranks (environment.venv; "
        "`ptycho-launch plan` shows which Python), then `ptycho-launch resume {run}`",
    ),
    "version_mismatch": (
        "use one environment on all nodes: environment.venv on a file system that all nodes see, "
        "and no PYTHONPATH that differs between nodes (environment.env); then "
        "`ptycho-launch resume {run}`",
    ),
    "ranks_disagree": (
        "make the nodes alike: one kind of GPU (resources.constraint), and a run directory and "
        "data files that all nodes see; then `ptycho-launch resume {run}`",
    ),
    "gpu_missing": (
        "submit a new run that asks for one GPU per rank (resources.gpus_per_node = "
        "resources.tasks_per_node) or computes on the CPU (execution.accelerator: cpu): "
        "`ptycho-launch submit`",
        "if the run did ask for GPUs, check `nvidia-smi` on {node}, and environment.modules",
    ),
    "gpu_broken": (
        "to continue on other nodes: `ptycho-launch resume {run}`; if {node} fails again, report "
        "it to your site and exclude it (resources.constraint)",
    ),
    "checkpoints_damaged": (
        "restore checkpoints/ from a snapshot of the file system, then "
        "`ptycho-launch resume {run}`; without a snapshot, start again: `ptycho-launch submit`",
        "to be safer next time, keep more checkpoints: execution.checkpoint_keep_last",
    ),
    "nan_loss": (
        "submit a new run with smaller steps: `ptycho-launch submit CONFIG --set "
        "execution.learning_rate=… --set execution.gradient_clip_val=1.0`",
        "or check the data: `ptycho-data inspect FILE`",
    ),
    "bad_data": (
        "check the file: `ptycho-data inspect FILE`; copy or export it again; if its contents are "
        "then the planned ones, `ptycho-launch resume {run}`, otherwise a new "
        "`ptycho-launch submit`",
    ),
    "unresolvable_host": (
        "to continue on other nodes: `ptycho-launch resume {run}`",
        "report to your site which node ({node}) could not resolve which name; in a container, "
        "bind /etc/hosts and /etc/resolv.conf",
    ),
    "port_in_use": (
        "start again, with another port, which each start draws: `ptycho-launch resume {run}`; to "
        "have runs do so automatically, add crash to requeue.on",
    ),
    "rank_did_not_join": (
        "read the log of rank {rank}: `ptycho-launch logs {run} --rank {rank}`",
        "if the rank was only slow to start (imports from a busy file system), give it more time: "
        "`ptycho-launch resume {run} --set execution.join_timeout_s=300`",
    ),
    "hung_rank": (
        "to continue, on other nodes if the node was at fault: `ptycho-launch resume {run}`; the "
        "logs hold the stacks of the ranks that waited (`ptycho-launch logs {run}`)",
        "if the rank was only slow, let the others wait longer: "
        "`--set execution.collective_timeout_s=…`",
    ),
    "nccl_timeout": (
        "find the rank that was late: `ptycho-launch logs {run}`; then "
        "`ptycho-launch resume {run}`",
        "if it happens again, set environment.env: {{NCCL_DEBUG: INFO}}, and your site's "
        "NCCL_SOCKET_IFNAME",
    ),
    "nccl_error": (
        "have NCCL say more: `ptycho-launch resume {run} --set "
        "'environment.env={{NCCL_DEBUG: INFO}}'`; on nodes with several networks, NCCL needs your "
        "site's NCCL_SOCKET_IFNAME and modules (environment.modules)",
    ),
    "gloo_timeout": (
        "find the rank that was late: `ptycho-launch logs {run}`; then "
        "`ptycho-launch resume {run} --set execution.collective_timeout_s=…`",
    ),
    "gloo_error": (
        "find out whether another rank died (`ptycho-launch logs {run}`); if none did, the nodes "
        "cannot reach each other: set GLOO_SOCKET_IFNAME in environment.env",
    ),
    "illegal_instruction": (
        "build the environment for the CPU of the nodes, or ask for nodes with the CPU that it "
        "was built for (resources.constraint), then `ptycho-launch resume {run}`",
    ),
    "segfault": (
        "try once more: `ptycho-launch resume {run}`; if it happens again, add "
        "PYTHONFAULTHANDLER: '1' to environment.env and read "
        "`ptycho-launch logs {run} --rank {rank}`",
        "a bus error often means a full /dev/shm (execution.num_workers: 0), or a data file that "
        "was truncated while it was read",
    ),
    "killed": (
        "most often the kernel did it because memory ran out: `ptycho-launch resume {run} --set "
        "resources.mem_per_node=…` (`sacct --format=JobID,MaxRSS` and the kernel log of {node} "
        "show it)",
        "otherwise a person or the site killed it; to continue: `ptycho-launch resume {run}`",
    ),
}


def advice_for(name: str, **known: str) -> tuple[str, ...]:
    """The advice for a class of causes; for a name that is not known it has words instead."""
    values = {"run": "RUN", "rank": "0", "node": "the node", **known}
    return tuple(line.format(**values) for line in ADVICE[name])
