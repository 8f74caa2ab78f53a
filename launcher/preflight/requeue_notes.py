"""What the site's SLURM does with jobs that are preempted or put back, where it says so."""

from __future__ import annotations

import re
from collections.abc import Mapping

from launcher.planning.plan import LaunchPlan
from launcher.slurm.scontrol import slurm_settings


def site_notes(plan: LaunchPlan) -> list[str]:
    """What a person should know of requeue and warnings here; nothing where there is no SLURM."""
    settings = slurm_settings(plan.resources.partition)
    return [] if settings is None else requeue_notes(plan, *settings)


def requeue_notes(
    plan: LaunchPlan, config: Mapping[str, str], partition: Mapping[str, str]
) -> list[str]:
    """The same, of settings that were asked already. Pure."""
    notes = []
    if plan.requeue.on and config.get("JobRequeue") == "0":
        notes.append(
            "JobRequeue=0: jobs are not requeued here by default. The script asks for it "
            "(--requeue); where the site refuses, the run stops with its checkpoint, and "
            "`ptycho-launch resume` goes on"
        )
    mode = partition.get("PreemptMode", config.get("PreemptMode", "OFF"))
    grace = re.match(r"\d+", partition.get("GraceTime", "0"))
    preempts = config.get("PreemptType", "preempt/none") != "preempt/none"
    preempted = preempts and mode.split(",")[0] not in ("OFF", "GANG", "SUSPEND")
    if preempted and (grace is None or int(grace[0]) == 0):
        name = partition.get("PartitionName", "of this job")
        notes.append(
            f"GraceTime=0 in partition {name} (PreemptMode={mode}): a preemption comes without "
            "warning, and what was trained since the last checkpoint is done again; set "
            "execution.checkpoint_every_s"
        )
    return notes
