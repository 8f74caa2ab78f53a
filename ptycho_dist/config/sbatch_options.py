"""Which options of sbatch a config may set, and why the others are refused."""

from __future__ import annotations

_FIELDS = {
    "job-name": "name",
    "nodes": "resources.nodes",
    "ntasks-per-node": "resources.tasks_per_node",
    "cpus-per-task": "resources.cpus_per_task",
    "gpus-per-node": "resources.gpus_per_node",
    "mem": "resources.mem_per_node",
    "time": "resources.time",
    "partition": "resources.partition",
    "account": "resources.account",
    "qos": "resources.qos",
    "constraint": "resources.constraint",
    "exclusive": "resources.exclusive",
    "reservation": "resources.reservation",
    "mail-user": "resources.mail_user",
    "mail-type": "resources.mail_type",
    "signal": "requeue.signal_lead_s",
    "requeue": "requeue.on",
    "no-requeue": "requeue.on",
    "container": "environment.container",
    "dependency": "`submit --after`",
    "array": "`submit --array`",
}
"""Option → the field or flag that sets it."""
_WORLD = "the number of ranks follows from resources.nodes and resources.tasks_per_node"
_OUTPUT = "logs go to the run directory"
_ENVIRONMENT = "the job gets the environment of the launcher, and environment.env"
_RETURN = "submit would not receive the job id"
_BREAKS = {
    "ntasks": _WORLD,
    "ntasks-per-socket": _WORLD,
    "ntasks-per-core": _WORLD,
    "ntasks-per-gpu": _WORLD,
    "overcommit": _WORLD,
    "gpus": "GPUs follow from resources.gpus_per_node, and each rank sees all of its node",
    "gpus-per-task": "each rank must see all GPUs of its node; set resources.gpus_per_node",
    "gpus-per-socket": "GPUs follow from resources.gpus_per_node",
    "gpu-bind": "each rank must see all GPUs of its node",
    "distribution": "ranks are placed in blocks, node after node",
    "no-kill": "a run cannot continue without the ranks of a lost node",
    "output": _OUTPUT,
    "error": _OUTPUT,
    "open-mode": "logs of a job that starts again are appended",
    "input": "the script reads no input",
    "comment": "it holds the run id, by which a job is found again",
    "export": _ENVIRONMENT,
    "export-file": _ENVIRONMENT,
    "get-user-env": _ENVIRONMENT,
    "uid": "a run belongs to who submits it",
    "gid": "a run belongs to who submits it",
    "chdir": "the run uses absolute paths",
    "clusters": "status, cancel and resume ask the cluster of this login node",
    "cluster": "status, cancel and resume ask the cluster of this login node",
    "parsable": _RETURN,
    "test-only": "nothing would run; `ptycho-launch check` does this",
    "wait": "sbatch would wait; use `submit --wait`",
    "wrap": "the script is the launcher's",
    "help": _RETURN,
    "usage": _RETURN,
    "version": _RETURN,
    "quiet": _RETURN,
    "verbose": _RETURN,
    "x11": "a batch job has no display",
}
"""Option → why it is refused."""
_KNOWN = frozenset(
    [
        "acctg-freq",
        "bb",
        "bbf",
        "begin",
        "burst-buffer",
        "cluster-constraint",
        "contiguous",
        "core-spec",
        "cores-per-socket",
        "cpu-freq",
        "cpus-per-gpu",
        "deadline",
        "delay-boot",
        "exclude",
        "extra",
        "extra-node-info",
        "gres",
        "gres-flags",
        "hint",
        "hold",
        "ignore-pbs",
        "kill-on-invalid-dep",
        "licenses",
        "mcs-label",
        "mem-bind",
        "mem-per-cpu",
        "mem-per-gpu",
        "mincpus",
        "network",
        "nice",
        "nodefile",
        "nodelist",
        "oversubscribe",
        "power",
        "prefer",
        "priority",
        "profile",
        "propagate",
        "reboot",
        "segment",
        "sockets-per-node",
        "spread-job",
        "stepmgr",
        "switches",
        "thread-spec",
        "threads-per-core",
        "tmp",
        "tres-bind",
        "tres-per-task",
        "use-min-nodes",
        "wait-all-nodes",
        "wckey",
    ]
)
"""Allowed options of sbatch(1), SLURM 22.05 to 25.05; plugins of a site may add others."""


def refusal(option: str, value: str) -> str:
    """Return why an option is refused; empty: it is allowed.

    Abbreviations are resolved first, because sbatch accepts them.

    Args:
        option: its long name, without dashes.
        value: its value; empty for an option without one.
    """
    if option in _FIELDS:
        return f"--{option}: is set by {_FIELDS[option]}; use that instead"
    if option in _BREAKS:
        return f"--{option}: {_BREAKS[option]}; omit it"
    if option == "gres" and any(part.strip().startswith("gpu") for part in value.split(",")):
        return "--gres: GPUs are requested by resources.gpus_per_node; omit them here"
    if option in _KNOWN:
        return ""
    for name in (*_FIELDS, *_BREAKS):
        if name.startswith(option):
            return f"--{option}: sbatch reads this as --{name}; " + refusal(name, value)
    return ""
