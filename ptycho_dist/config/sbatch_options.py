"""Further options of sbatch, and those that would break the contract of a run."""

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
"""Option → what says it here."""
_WORLD = "the number of ranks follows from resources.nodes and resources.tasks_per_node"
_OUTPUT = "logs go to the run directory"
_ENVIRONMENT = "the job gets the environment of the launcher, and environment.env"
_RETURN = "submit would not get its answer, a job id"
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
    "distribution": "ranks are laid out in blocks, a node after another",
    "no-kill": "a run cannot go on without the ranks of a lost node",
    "output": _OUTPUT,
    "error": _OUTPUT,
    "open-mode": "logs of a job that starts again are appended",
    "input": "the script reads no input",
    "comment": "it carries the run id, by which a job is found again",
    "export": _ENVIRONMENT,
    "export-file": _ENVIRONMENT,
    "get-user-env": _ENVIRONMENT,
    "uid": "a run belongs to who submits it",
    "gid": "a run belongs to who submits it",
    "chdir": "the run carries absolute paths",
    "clusters": "status, cancel and resume ask the cluster of this login node",
    "cluster": "status, cancel and resume ask the cluster of this login node",
    "parsable": _RETURN,
    "test-only": "nothing would run; `ptycho-launch check` asks this",
    "wait": "sbatch would wait; use `submit --wait`",
    "wrap": "the script is the launcher's",
    "help": _RETURN,
    "usage": _RETURN,
    "version": _RETURN,
    "quiet": _RETURN,
    "verbose": _RETURN,
    "x11": "a batch job has no display",
}
"""Option → why it cannot be had."""
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
"""Of sbatch(1), SLURM 22.05 to 25.05; a site's plugins know others."""


def refusal(option: str, value: str) -> str:
    """Why an option cannot be had; empty: it can. sbatch takes abbreviations, so they count.

    Args:
        option: its long name, without dashes.
        value: what it is to be.
    """
    if option in _FIELDS:
        return f"--{option}: {_FIELDS[option]} says this; set it there"
    if option in _BREAKS:
        return f"--{option}: {_BREAKS[option]}; leave it out"
    if option == "gres" and any(part.strip().startswith("gpu") for part in value.split(",")):
        return "--gres: resources.gpus_per_node asks for GPUs; leave them out here"
    if option in _KNOWN:
        return ""
    for name in (*_FIELDS, *_BREAKS):
        if name.startswith(option):
            return f"--{option}: sbatch reads it as --{name}; " + refusal(name, value)
    return ""
