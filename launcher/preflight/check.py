"""Checks a plan against the live cluster: would the run be accepted, start, and find its files?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.planning.plan import LaunchPlan
from launcher.planning.script import render
from launcher.preflight.account import accounting_findings
from launcher.preflight.findings import FieldPlaces, Finding, refused, sorted_findings
from launcher.preflight.partition import chosen_partitions, partition_findings
from launcher.preflight.requeue import requeue_findings
from launcher.preflight.storage import Storage, look_at_storage, storage_findings
from launcher.preflight.trial import trial_findings, trust_the_trial
from launcher.slurm.ask_cluster import ask_cluster, node_hosts, this_host
from launcher.slurm.cluster_facts import ClusterFacts
from launcher.slurm.scontrol import require_slurm
from ptycho_dist.config.load import LoadedConfig
from ptycho_dist.config.run import RunConfig
from ptycho_dist.rundir.making import new_run_path

FORMAT = 1


@dataclass(frozen=True)
class CheckReport:
    """Everything that a check found, the gravest first."""

    findings: tuple[Finding, ...]
    facts: ClusterFacts
    places: FieldPlaces

    @property
    def passed(self) -> bool:
        """Whether the run may be submitted: no finding is an error."""
        return not refused(self.findings)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `check --json` (LP-210)."""
        config, trial = self.facts.config, self.facts.trial
        starts_at = trial.starts_at if trial is not None else None
        return {
            "format": FORMAT,
            "passed": self.passed,
            "cluster": config.get("ClusterName"),
            "slurm_version": config.get("SLURM_VERSION"),
            "expected_start": None if starts_at is None else starts_at.astimezone().isoformat(),
            "findings": [each.to_json(self.places) for each in self.findings],
        }


def check_run(loaded: LoadedConfig, plan: LaunchPlan, runs_root: Path) -> CheckReport:
    """Check a plan against the cluster; nothing is submitted, and no file is left behind.

    Raises:
        ClusterUnreachable: no SLURM answers.
    """
    require_slurm()
    script = render(plan, new_run_path(runs_root.absolute(), plan.name))
    facts = ask_cluster(script, plan.resources.account)
    storage = look_at_storage(plan, loaded.config, runs_root)
    elsewhere = bool(storage.local) and _elsewhere(plan, facts)
    places = FieldPlaces(loaded)
    return CheckReport(
        findings_of(plan, loaded.config, facts, storage, places, elsewhere), facts, places
    )


def findings_of(
    plan: LaunchPlan,
    config: RunConfig,
    facts: ClusterFacts,
    storage: Storage,
    places: FieldPlaces,
    elsewhere: bool,
) -> tuple[Finding, ...]:
    """Judge a run by the facts, gravest findings first. Pure.

    Args:
        plan: plan of the run.
        config: config of the run.
        facts: facts about the cluster.
        storage: facts about the files of the run.
        places: where the fields of the config are written.
        elsewhere: whether the nodes are other machines than this one.
    """
    partitions = chosen_partitions(plan, facts)
    found = [*partition_findings(plan, facts, places)]
    found += accounting_findings(plan, partitions, facts, places)
    trial = [*trial_findings(found, facts, places)]
    found = [*trust_the_trial(found, facts), *trial]
    found += requeue_findings(plan, partitions, facts)
    found += storage_findings(storage, plan, config, elsewhere)
    return tuple(sorted_findings(found))


def _elsewhere(plan: LaunchPlan, facts: ClusterFacts) -> bool:
    """Whether the nodes are other machines than this one."""
    hosts = [node_hosts(each.name) for each in chosen_partitions(plan, facts)]
    return any(each - this_host() for each in hosts)
