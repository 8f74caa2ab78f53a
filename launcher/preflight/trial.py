"""What `sbatch --test-only` says of the exact script, in plain words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from launcher.preflight.findings import FieldPlaces, Finding, refused
from launcher.slurm.cluster_facts import ClusterFacts
from launcher.slurm.units import duration_text

_REFUSALS = (
    ("reservation", "resources.reservation", "the reservation may not be used so"),
    ("policy", "", "a limit of the account or the QOS is exceeded"),
    ("partition name", "resources.partition", "there is no such partition"),
    ("partition not available", "resources.partition", "the partition takes no jobs now"),
    ("partition configuration not available", "resources.partition", "its nodes are not there now"),
    ("group not permitted", "resources.partition", "the partition is not for your groups"),
    ("account", "resources.account", "the account may not be used so"),
    ("qos specification", "resources.qos", "the QOS may not be used so"),
    ("time limit", "resources.time", "the walltime is longer than allowed"),
    ("node count", "NODES", "the partition does not allow so many, or so few, nodes"),
    ("feature", "resources.constraint", "no node has these features"),
    ("memory", "resources.mem_per_node", "no node may give so much memory"),
    ("generic resource", "resources.gpus_per_node", "the GPUs cannot be asked for so"),
    ("gres", "resources.gpus_per_node", "the GPUs cannot be asked for so"),
    ("processors", "", "there are not so many CPUs"),
    ("cpu count", "", "there are not so many CPUs"),
)
"""Words of SLURM's message (without case) → the field to blame, and what it means; empty: it may be
any of several."""
_NO_NODES = (
    "node configuration is not available",
    "node not available",
    "nodes are busy",
)
"""The trial refuses jobs that sbatch would queue: those whose nodes are down just now."""
_NO_TRIAL = ("contact slurm controller", "connection refused", "timed out", "unrecognized option")


def trial_findings(
    found: list[Finding], facts: ClusterFacts, places: FieldPlaces
) -> Iterator[Finding]:
    """What the trial adds to what was found before it.

    Args:
        found: the findings of partition, nodes and accounts.
        facts: with the trial.
        places: of the fields.
    """
    trial = facts.trial
    if trial is None:
        why = facts.unknown.get("trial", "it was not asked")
        yield Finding("note", "trial", "", f"sbatch --test-only: not checked: {why}")
        return
    if not trial.refusal:
        if trial.starts_at is None:
            yield Finding("ok", "trial", "", "SLURM would take the job, and says no start")
            return
        nodes = f" on {trial.nodes}" if trial.nodes else ""
        when = _when(trial.starts_at, facts.asked_at)
        yield Finding("ok", "trial", "", f"SLURM would take the job: expected start {when}{nodes}")
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
            "note", "trial", field, f"no start can be told while nodes are not usable ({said})"
        )
    elif no_nodes:
        yield Finding(
            "error",
            "trial",
            field or places.of_nodes(),
            f"no nodes can give what is asked for in this combination ({said}); ask for less per "
            "node, or for other nodes",
        )
    else:
        yield Finding("error", "trial", field, f"{meaning or 'SLURM refuses the job'} ({said})")


def trust_the_trial(found: list[Finding], facts: ClusterFacts) -> list[Finding]:
    """Where SLURM says when the job would start, it has nodes for it, whatever sinfo told us."""
    if facts.trial is None or facts.trial.starts_at is None:
        return found
    return [
        Finding(
            "warning",
            each.check,
            each.field,
            f"{each.message}; SLURM says that it would start all the same",
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
