"""The text of the cluster's configuration files. Pure: this module reads and writes nothing."""

from __future__ import annotations

from layout import Layout, Options
from ports import Endpoints


def node_names(nodes: int) -> list[str]:
    """The names of the nodes, beginning with node1."""
    return [f"node{index}" for index in range(1, nodes + 1)]


def cluster_name(endpoints: Endpoints) -> str:
    """A name that no other cluster running on this host has."""
    return f"onehost{endpoints.slot}"


def slurm_conf(layout: Layout, endpoints: Endpoints, options: Options, user: str) -> str:
    """slurm.conf of a cluster whose daemons all run as `user` on this host."""
    gpus = f" Gres=gpu:{options.gpus_per_node}" if options.gpus_per_node else ""
    nodes = [
        # The names cannot be resolved; NodeHostname says that each node is this host.
        f"NodeName={name} NodeHostname=localhost NodeAddr={address} Port={port}"
        f" CPUs={options.cpus_per_node} RealMemory={options.memory_per_node_mb}{gpus}"
        for name, address, port in zip(
            node_names(options.nodes), endpoints.node_addresses, endpoints.node_ports, strict=True
        )
    ]
    default_memory_mb = max(1, options.memory_per_node_mb // options.cpus_per_node)
    lines = [
        f"ClusterName={cluster_name(endpoints)}",
        f"SlurmctldHost=localhost({endpoints.controller_address})",
        f"SlurmctldPort={endpoints.controller_port}",
        f"SlurmUser={user}",
        f"SlurmdUser={user}",
        "",
        "AuthType=auth/munge",
        f"AuthInfo=socket={layout.munge_socket}",
        "",
        f"StateSaveLocation={layout.controller_state}",
        f"SlurmdSpoolDir={layout.spool}/%n",
        f"SlurmctldPidFile={layout.run}/slurmctld.pid",
        f"SlurmdPidFile={layout.run}/slurmd-%n.pid",
        f"SlurmctldLogFile={layout.log}/slurmctld.log",
        f"SlurmdLogFile={layout.log}/slurmd-%n.log",
        "",
        "# No cgroups: nothing of the host is configured, and an ordinary user can run it.",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "SwitchType=switch/none",
        "MpiDefault=none",
        "# The nodes may have more CPUs and memory than the host.",
        "SlurmdParameters=config_overrides",
        "ReturnToService=2",
        "# A job that can never run is refused by sbatch, not left pending.",
        "EnforcePartLimits=ALL",
        "",
        "# A cancelled job is gone within KillWait; a dead slurmd is noticed within SlurmdTimeout.",
        "KillWait=10",
        "MinJobAge=300",
        "SlurmdTimeout=30",
        "InactiveLimit=0",
        "",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_CPU_Memory",
        f"DefMemPerCPU={default_memory_mb}",
        "PreemptMode=OFF",
        "SchedulerType=sched/backfill",
        "SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1",
        "",
        *(["GresTypes=gpu"] if options.gpus_per_node else []),
        *_accounting_lines(layout, endpoints, options),
        "",
        *nodes,
        "PartitionName=debug Nodes=ALL Default=YES DefaultTime=00:30:00 MaxTime=1-00:00:00",
        "PartitionName=short Nodes=ALL Default=NO DefaultTime=00:05:00 MaxTime=00:10:00",
    ]
    return "\n".join(lines) + "\n"


def _accounting_lines(layout: Layout, endpoints: Endpoints, options: Options) -> list[str]:
    if not options.accounting:
        return [
            "AccountingStorageType=accounting_storage/none",
            "JobAcctGatherType=jobacct_gather/none",
        ]
    return [
        "AccountingStorageType=accounting_storage/slurmdbd",
        f"AccountingStorageHost={endpoints.controller_address}",
        f"AccountingStoragePort={endpoints.database_port}",
        # For slurmdbd this is munge's socket; AuthInfo is not read here.
        f"AccountingStoragePass={layout.munge_socket}",
        *(["AccountingStorageTRES=gres/gpu"] if options.gpus_per_node else []),
        "JobAcctGatherType=jobacct_gather/linux",
        "JobAcctGatherFrequency=task=10",
    ]


def gres_conf(layout: Layout, options: Options) -> str:
    """gres.conf: each node has the same fake GPUs; they set CUDA_VISIBLE_DEVICES like real ones."""
    if not options.gpus_per_node:
        return ""
    files = f"{layout.devices}/nvidia[0-{options.gpus_per_node - 1}]"
    return f"NodeName=node[1-{options.nodes}] Name=gpu File={files} Flags=nvidia_gpu_env\n"


def slurmdbd_conf(layout: Layout, endpoints: Endpoints, user: str) -> str:
    """slurmdbd.conf: connects to the private MariaDB through its socket, as the current user.

    The path of the socket is in slurmdbd's environment (MYSQL_UNIX_PORT), because no key sets it.
    """
    lines = [
        "AuthType=auth/munge",
        f"AuthInfo=socket={layout.munge_socket}",
        "DbdHost=localhost",
        f"DbdAddr={endpoints.controller_address}",
        f"DbdPort={endpoints.database_port}",
        f"SlurmUser={user}",
        f"LogFile={layout.log}/slurmdbd.log",
        f"PidFile={layout.run}/slurmdbd.pid",
        "StorageType=accounting_storage/mysql",
        "StorageHost=localhost",
        f"StorageUser={user}",
        "StorageLoc=slurm_acct",
    ]
    return "\n".join(lines) + "\n"
