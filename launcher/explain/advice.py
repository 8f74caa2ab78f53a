"""What to do, by the name of a class of causes: a field of run.yaml, and the next command.

`{run}`, `{rank}`, `{node}` and `{attempt}` are filled in. What is set on `resume` may change there
without making another training of it.
"""

from __future__ import annotations

ADVICE: dict[str, tuple[str, ...]] = {
    "not_failed": ("nothing is to be mended: `ptycho-launch status {run}` shows how far it is",),
    "cancelled": ("go on where it stopped: `ptycho-launch resume {run}`",),
    "walltime": (
        "go on from the newest checkpoint: `ptycho-launch resume {run}`; with more time: "
        "`--set resources.time=…`",
        "let it go on by itself: name timeout in requeue.on",
        "if the checkpoint came too late, raise requeue.signal_lead_s or set "
        "execution.checkpoint_every_s",
    ),
    "preempted": (
        "go on from the newest checkpoint: `ptycho-launch resume {run}`",
        "let it go on by itself: name preempt in requeue.on; or take a resources.partition or "
        "resources.qos that is not preempted",
    ),
    "node_failure": (
        "go on elsewhere: `ptycho-launch resume {run}`; let it do so by itself: name node_fail in "
        "requeue.on",
        "tell your site that {node} was lost; `sinfo --list-reasons` may say why",
    ),
    "crash_loop": (
        "read what rank {rank} said: `ptycho-launch logs {run} --rank {rank}`; mend it, then "
        "`ptycho-launch resume {run}`",
    ),
    "unknown": (
        "read what rank {rank} said: `ptycho-launch logs {run} --rank {rank}`",
        "if it may have been chance, go on: `ptycho-launch resume {run}`",
    ),
    "module_not_found": (
        "see what the site has (`module avail`, `module spider NAME`), then "
        "`ptycho-launch resume {run} --set 'environment.modules=[…]'`",
    ),
    "venv_missing": (
        "make the environment where all nodes see it, or name another: "
        "`ptycho-launch resume {run} --set environment.venv=…`",
    ),
    "setup_failed": (
        "run the line of environment.setup by hand on a compute node, mend it, then "
        "`ptycho-launch resume {run} --set 'environment.setup=[…]'`",
    ),
    "config_changed": (
        "undo the change in run.json; a field is changed by `ptycho-launch resume {run} --set …` "
        "(resources.time and the like), or by a new `ptycho-launch submit`",
    ),
    "data_changed": (
        "put the file back (data.train_data_file, data.test_data_file), or start a new run with "
        "the new data: `ptycho-launch submit`",
    ),
    "wrong_world": (
        "start it through `ptycho-launch resume {run}`, not by srun with another --ntasks; the "
        "world is resources.nodes × resources.tasks_per_node",
    ),
    "gpu_out_of_memory": (
        "a new run with half of training.batch_size and twice execution.accum_steps has the same "
        "global batch: `ptycho-launch submit CONFIG --set training.batch_size=… --set "
        "execution.accum_steps=…`",
        "or halve activations with execution.precision=bf16-mixed, or ask for larger GPUs with "
        "resources.constraint; `nvidia-smi` on {node} shows whether another job sat on the GPU",
    ),
    "shared_memory_full": (
        "load in the rank itself: `ptycho-launch resume {run} --set execution.num_workers=0`",
        "in a container, bind the node's /dev/shm (environment)",
    ),
    "host_out_of_memory": (
        "ask for more: `ptycho-launch resume {run} --set resources.mem_per_node=…`; with fewer "
        "copies of the data: `--set execution.num_workers=0`",
        "or fewer ranks per node (resources.tasks_per_node), with more resources.nodes",
    ),
    "disk_full": (
        "free space, or quota, where the run directory and the temporary files are (`df -h`, "
        "`quota`, `lfs quota`), then `ptycho-launch resume {run}`",
        "keep fewer checkpoints: execution.checkpoint_keep_last, execution.checkpoint_save_top_k",
    ),
    "file_system": (
        "see whether {node} still has the file system, tell your site, then "
        "`ptycho-launch resume {run}`; another place for runs: `--runs-dir`",
    ),
    "driver_too_old": (
        "install a torch that is built for the driver of the nodes (`nvidia-smi` on {node}; "
        "https://pytorch.org) in environment.venv, or load another of environment.modules, then "
        "`ptycho-launch resume {run}`",
    ),
    "library_mismatch": (
        "build the environment on a compute node of this kind, or load the compiler's module "
        "(environment.modules), then `ptycho-launch resume {run}`",
    ),
    "import_error": (
        "install what is missing in the ranks' Python (environment.venv; `ptycho-launch plan` "
        "shows which one), then `ptycho-launch resume {run}`",
    ),
    "version_mismatch": (
        "give all nodes one environment: environment.venv on a file system that all see, and no "
        "PYTHONPATH of a single node (environment.env), then `ptycho-launch resume {run}`",
    ),
    "ranks_disagree": (
        "make the nodes alike: one kind of GPU (resources.constraint), one run directory and one "
        "set of data files seen by all, then `ptycho-launch resume {run}`",
    ),
    "gpu_missing": (
        "ask for a GPU per rank (resources.gpus_per_node = resources.tasks_per_node), or compute "
        "on the CPU (execution.accelerator: cpu), with a new `ptycho-launch submit`",
        "if it was asked for: see `nvidia-smi` on {node}, and environment.modules",
    ),
    "gpu_broken": (
        "go on on other nodes: `ptycho-launch resume {run}`; if {node} fails again, tell your "
        "site and leave it out (resources.constraint)",
    ),
    "checkpoints_damaged": (
        "look for a copy of checkpoints/ in the file system's snapshots and put it back, then "
        "`ptycho-launch resume {run}`; else start anew: `ptycho-launch submit`",
        "keep more of them: execution.checkpoint_keep_last",
    ),
    "nan_loss": (
        "a new run with smaller steps: `ptycho-launch submit CONFIG --set "
        "execution.learning_rate=… --set execution.gradient_clip_val=1.0`",
        "or look at the data: `ptycho-data inspect FILE`",
    ),
    "bad_data": (
        "look at the file: `ptycho-data inspect FILE`; copy or export it again; then "
        "`ptycho-launch resume {run}` where its contents are the planned ones, else a new "
        "`ptycho-launch submit`",
    ),
    "unresolvable_host": (
        "go on on other nodes: `ptycho-launch resume {run}`",
        "tell your site which node could not resolve which name ({node}); in a container, bind "
        "/etc/hosts and /etc/resolv.conf",
    ),
    "port_in_use": (
        "start again, each start draws another port: `ptycho-launch resume {run}`; let it do so "
        "by itself: name crash in requeue.on",
    ),
    "rank_did_not_join": (
        "read what rank {rank} said: `ptycho-launch logs {run} --rank {rank}`",
        "if it was only slow to start (imports from a busy file system): "
        "`ptycho-launch resume {run} --set execution.join_timeout_s=300`",
    ),
    "hung_rank": (
        "go on, on other nodes if it was the node: `ptycho-launch resume {run}`; the stacks of the "
        "ranks that waited are in their logs (`ptycho-launch logs {run}`)",
        "if the rank was only slow: `--set execution.collective_timeout_s=…`",
    ),
    "nccl_timeout": (
        "look for the rank that was late: `ptycho-launch logs {run}`; then "
        "`ptycho-launch resume {run}`",
        "if it comes again: environment.env: {{NCCL_DEBUG: INFO}}, and your site's "
        "NCCL_SOCKET_IFNAME",
    ),
    "nccl_error": (
        "let NCCL speak: `ptycho-launch resume {run} --set "
        "'environment.env={{NCCL_DEBUG: INFO}}'`; on several networks it needs the site's "
        "NCCL_SOCKET_IFNAME, and its modules (environment.modules)",
    ),
    "gloo_timeout": (
        "look for the rank that was late: `ptycho-launch logs {run}`; then "
        "`ptycho-launch resume {run} --set execution.collective_timeout_s=…`",
    ),
    "gloo_error": (
        "see whether another rank died (`ptycho-launch logs {run}`); if none did, the nodes do "
        "not reach each other: set GLOO_SOCKET_IFNAME in environment.env",
    ),
    "illegal_instruction": (
        "build the environment for the CPU of the nodes, or ask for the CPU it was built for "
        "(resources.constraint), then `ptycho-launch resume {run}`",
    ),
    "segfault": (
        "go on once: `ptycho-launch resume {run}`; if it comes again, add PYTHONFAULTHANDLER: '1' "
        "to environment.env and read `ptycho-launch logs {run} --rank {rank}`",
        "a bus error is often a full /dev/shm (execution.num_workers: 0), or a data file that "
        "was cut while it was read",
    ),
    "killed": (
        "most often it is the kernel, out of memory: `ptycho-launch resume {run} --set "
        "resources.mem_per_node=…` (`sacct --format=JobID,MaxRSS` and the log of {node}'s kernel "
        "tell)",
        "else a person or the site killed it: `ptycho-launch resume {run}` goes on",
    ),
}


def advice_for(name: str, **known: str) -> tuple[str, ...]:
    """What to do; what is not known is put in words."""
    values = {"run": "RUN", "rank": "0", "node": "the node", "attempt": "1", **known}
    return tuple(line.format(**values) for line in ADVICE[name])
