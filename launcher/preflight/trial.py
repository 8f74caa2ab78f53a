"""Explains the answer of `sbatch --test-only` to the exact script. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from launcher.preflight.findings import FieldPlaces, Finding, refused
from launcher.slurm.cluster_facts import ClusterFacts
from launcher.slurm.units import duration_text

_REFUSALS = (
    ("reservation", "resources.reservation", "the reservation may not be used in this way"),
    ("policy", "", "a limit of the account or the QOS is exceeded"),
    ("partition name", "resources.partition", "there is no such partition"),
    ("partition not available", "resources.partition", "the partition takes no jobs now"),
    (
        "partition configuration not available",
        "resources.partition",
        "its nodes are not available now",
    ),
    ("group not permitted", "resources.partition", "the partition is not for your groups"),
    ("account", "resources.account", "the account may not be used in this way"),
    ("qos specification", "resources.qos", "the QOS may not be used in this way"),
    ("time limit", "resources.time", "the walltime is longer than allowed"),
    ("node count", "NODES", "the partition does not allow this number of nodes"),
    ("feature", "resources.constraint", "no node has these features"),
    ("memory", "resources.mem_per_node", "no node can provide this much memory"),
    ("generic resource", "resources.gpus_per_node", "the GPUs cannot be requested in this way"),
    ("gres", "resources.gpus_per_node", "the GPUs cannot be requested in this way"),
    ("processors", "", "there are not enough CPUs"),
    ("cpu count", "", "there are not enough CPUs"),
)
"""Words in SLURM's message (lower case), the field at fault, and the meaning. The field is empty if
several may be at fault."""
_NO_NODES = (
    "node configuration is not available",
    "node not available",
    "nodes are busy",
)
"""Refusals for jobs that sbatch would queue, because their nodes are only down at the moment."""
_NO_TRIAL = ("contact slurm controller", "connection refused", "timed out", "unrecognized option")


def trial_findings(
    found: list[Finding], facts: ClusterFacts, places: FieldPlaces
) -> Iterator[Finding]:
    """Judge the trial in the light of the earlier findings.

    Args:
        found: findings on partition, nodes and accounts.
        facts: facts about the cluster, with the trial.
        places: where the fields of the config are written.
    """
    trial = facts.trial
    if trial is None:
        why = facts.unknown.get("trial", "it was not tried")
        yield Finding("note", "trial", "", f"sbatch --test-only: not checked: {why}")
        return
    if not trial.refusal:
        if trial.starts_at is None:
            yield Finding(
                "ok",
                "trial",
                "",
                "SLURM would accept the job, but does not say when it would start",
            )
            return
        nodes = f" on {trial.nodes}" if trial.nodes else ""
        when = _when(trial.starts_at, facts.asked_at)
        yield Finding(
            "ok", "trial", "", f"SLURM would accept the job: expected start {when}{nodes}"
        )
        return
    message = trial.refusal.lower()
    if any(sign in message for sign in _NO_TRIAL):
        yield Finding("note", "trial", "", f"sbatch --test-only: not checked: {trial.refusal}")
        return
    said = f"sbatch --test-only: {trial.refusal}"
    field, meaning = _meaning(message)
    field = places.of_nodes() if field == "NODES" else field
    no_nodes = any(sign in message for sign in _NO_NODES)
    if refused(each for each in found if not field or each.field == field):
        yield Finding("note", "trial", field, f"SLURM refuses it too ({said})")
    elif no_nodes and any(each.check == "nodes" and each.level == "warning" for each in found):
        yield Finding(
            "note", "trial", field, f"no start can be predicted while nodes cannot be used ({said})"
        )
    elif no_nodes:
        yield Finding(
            "error",
            "trial",
            field or places.of_nodes(),
            f"no node can provide this combination of resources ({said}); ask for less per "
            "node, or for other nodes",
        )
    else:
        yield Finding("error", "trial", field, f"{meaning or 'SLURM refuses the job'} ({said})")


def trust_the_trial(found: list[Finding], facts: ClusterFacts) -> list[Finding]:
    """If SLURM says when the job would start, it has the nodes, whatever sinfo shows."""
    if facts.trial is None or facts.trial.starts_at is None:
        return found
    return [
        Finding(
            "warning",
            each.check,
            each.field,
            f"{each.message}; but SLURM says that the job would start",
        )
        if each.check == "nodes" and each.level == "error"
        else each
        for each in found
    ]


def _meaning(message: str) -> tuple[str, str]:
    for words, field, meaning in _REFUSALS:
        if words in message:
            return field, meaning
    return "", ""


def _when(start: datetime, now: datetime) -> str:
    wait = int((start - now).total_seconds())
    if wait < 60:
        return "now"
    return f"{start:%Y-%m-%d %H:%M} (in {duration_text(wait // 60 * 60)})"
