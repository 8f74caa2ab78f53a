"""Checks whether the run would be warned before its end, and requeued. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from launcher.planning.plan import LaunchPlan
from launcher.preflight.findings import Finding
from launcher.preflight.requeue_notes import grace_s, preempt_mode, requeue_notes
from launcher.slurm.cluster_facts import ClusterFacts, Partition
from launcher.slurm.units import duration_text


def requeue_findings(
    plan: LaunchPlan, partitions: list[Partition], facts: ClusterFacts
) -> Iterator[Finding]:
    """Judge what SLURM's settings mean for the lead and the restarts of a run."""
    if "config" in facts.unknown:
        yield Finding("note", "requeue", "requeue.on", f"not checked: {facts.unknown['config']}")
        return
    # Settings of the whole cluster give the same note for every partition.
    notes = [
        note
        for each in partitions or [Partition(name="")]
        for note in requeue_notes(plan, facts.config, each.words)
    ]
    for note in dict.fromkeys(notes):
        yield Finding("note", "requeue", "requeue.on", note)
    for partition in partitions:
        grace = grace_s(partition.words)
        preempts = preempt_mode(facts.config, partition.words) is not None
        if preempts and 0 < grace < plan.signal_lead_s:
            yield Finding(
                "note",
                "requeue",
                "requeue.signal_lead_s",
                f"a preemption in {partition.name} comes with {grace} s of warning (GraceTime), "
                f"but the lead is {plan.signal_lead_s} s: a checkpoint that takes longer than the "
                "warning is lost",
            )
    if not notes:
        restarts = (
            f"restarted after {', '.join(plan.requeue.on)}"
            if plan.requeue.on
            else "not restarted automatically (requeue.on is empty)"
        )
        yield Finding(
            "ok",
            "requeue",
            "requeue.on",
            f"the ranks are told to stop {plan.signal_lead_s} s before the end of "
            f"{duration_text(plan.walltime_s)}; {restarts}",
        )
