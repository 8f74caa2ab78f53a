"""Notes on how the site's SLURM treats jobs that are preempted or requeued."""

from __future__ import annotations

from collections.abc import Mapping

from launcher.planning.plan import LaunchPlan
from launcher.slurm.scontrol import slurm_settings
from launcher.slurm.units import whole


def site_notes(plan: LaunchPlan) -> list[str]:
    """Notes for the plan of a run; none if no SLURM answers."""
    settings = slurm_settings(plan.resources.partition)
    return [] if settings is None else requeue_notes(plan, *settings)


def requeue_notes(
    plan: LaunchPlan, config: Mapping[str, str], partition: Mapping[str, str]
) -> list[str]:
    """Notes by settings that are already known: those of SLURM and of the partition. Pure."""
    notes = []
    if plan.requeue.on and config.get("JobRequeue") == "0":
        notes.append(
            "JobRequeue=0: jobs are not requeued here by default. The script asks for it "
            "(--requeue); if the site refuses, the run stops with its checkpoint, and "
            "`ptycho-launch resume` continues it"
        )
    mode = preempt_mode(config, partition)
    if mode is not None and grace_s(partition) == 0:
        name = partition.get("PartitionName", "of this job")
        notes.append(
            f"GraceTime=0 in partition {name} (PreemptMode={mode}): a preemption comes without "
            "warning, and all training since the last checkpoint is repeated; set "
            "execution.checkpoint_every_s"
        )
    return notes


def preempt_mode(config: Mapping[str, str], partition: Mapping[str, str]) -> str | None:
    """How SLURM ends the jobs that it preempts in a partition; None: it ends none."""
    mode = partition.get("PreemptMode", config.get("PreemptMode", "OFF"))
    preempts = config.get("PreemptType", "preempt/none") != "preempt/none"
    return mode if preempts and mode.split(",")[0] not in ("OFF", "GANG", "SUSPEND") else None


def grace_s(partition: Mapping[str, str]) -> int:
    """Seconds between the warning of a preemption and its end."""
    return whole(partition.get("GraceTime", "")) or 0
