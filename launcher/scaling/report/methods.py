"""The methods paragraph: what was measured and how, as a proposal or a paper would say it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from launcher.pages.words import percent, rounded
from launcher.scaling.analysis.results import Collected, StudyAnalysis
from launcher.scaling.report.provenance import StudyProvenance
from launcher.scaling.report.wording import exact
from launcher.scaling.study.definition import Study
from launcher.text.counted import counted, listed

_LR_RULES = {
    "sqrt": "the learning rate scaled with the square root of the global batch",
    "linear": "the learning rate scaled in proportion to the global batch",
    "none": "the learning rate left as it is",
}
_NAMED = ("python", "torch", "lightning", "cuda", "nccl", "numpy", "ptycho-dist")
"""Packages that the paragraph names; the table of provenance has all."""


def methods_text(collected: Collected, analysis: StudyAnalysis, origin: StudyProvenance) -> str:
    """One text to be pasted; every number in it is of this study."""
    study = collected.study
    return " ".join(
        [
            *_what(study, analysis, origin),
            *_how(collected),
            *_statistics(analysis),
            *_laws(analysis),
            *_where(collected, origin),
        ]
    )


def _what(study: Study, analysis: StudyAnalysis, origin: StudyProvenance) -> list[str]:
    modes = " and ".join(study.modes)
    nodes = "node" if study.nodes == (1,) else "nodes"
    ranks = "rank" if study.tasks_per_node == (1,) else "ranks"
    said = [
        f"We measured the {modes} scaling of the training {study.name} "
        f"(config SHA-256 {origin.config_sha256[:12]}) on {_numbers(study.nodes)} {nodes} with "
        f"{_numbers(study.tasks_per_node)} {ranks} per node."
    ]
    base = study.base
    if "strong" in study.modes:
        kept = exact(base.global_batch)
        said.append(f"Strong scaling keeps the global batch of {kept} samples.")
    if study.measurement.until == "target_loss":
        said.append("Each repeat has a seed of its own for network and order of the data.")
    if "weak" in study.modes:
        kept = exact(base.batch_size)
        said.append(
            f"Weak scaling keeps the batch of {kept} samples per rank, with "
            f"{_LR_RULES[analysis.lr_rule]}, from {exact(base.learning_rate)} at a global "
            f"batch of {exact(base.global_batch)}."
        )
    return said


def _how(collected: Collected) -> list[str]:
    study = collected.study
    plan = study.measurement
    until = {
        "steps": f"{exact(plan.value)} optimizer steps",
        "seconds": f"{exact(plan.value)} seconds",
        "target_loss": f"until the loss of an epoch was at most {exact(plan.value)}",
    }[plan.until]
    measured, all_points = len(collected.measured), len(study.points)
    said = [
        f"Each size ran {counted(study.repeats, 'time')}; all sizes of one repeat ran before those "
        f"of the next, in an order drawn at random (seed {study.seed}), so that a drift of the "
        f"machine does not pose as scaling. {measured} of {counted(all_points, 'run')} measured.",
        f"Each run measured {until}, after {counted(plan.warm_up_steps, 'optimizer step')} of "
        "warm-up at the beginning of each attempt, which do not count.",
        "Throughput is the samples of all ranks over the wall time of these steps without "
        "checkpoints and validation; every moment of a rank belongs to exactly one part of a step, "
        "and start-up is measured apart.",
    ]
    oversubscribed = sum(each.oversubscribed for each in collected.measured)
    if oversubscribed:
        cores = max(each.cores for each in collected.measured)
        machines = max(each.machines for each in collected.measured)
        where = "the machine has" if machines == 1 else f"the {machines} machines have"
        said.append(
            f"In {oversubscribed} of these runs the ranks computed with more threads than {where} "
            f"cores ({cores}): they show what the launcher costs, not how the training scales."
        )
    return said


def _statistics(analysis: StudyAnalysis) -> list[str]:
    said = [
        f"Intervals are {percent(analysis.methods.get('confidence', 0.95))}: "
        f"{analysis.methods.get('interval', 'bootstrap of the repeats')}, "
        f"{exact(analysis.methods.get('resamples'))} resamples."
    ]
    runs = [size.time_to_solution_runs for series in analysis.series for size in series.sizes]
    if any(runs):
        said.append(
            "Time to solution counts from the start of the first attempt, with the staging of the "
            "data, to the target loss; it is the mean without the fastest and the slowest run "
            "where there are five or more (MLPerf HPC, Farrell et al. 2021)."
        )
    return said


def _laws(analysis: StudyAnalysis) -> list[str]:
    laws = {law.name: law for series in analysis.series for law in series.laws}
    if not laws:
        return []
    named = "; ".join(f"{law.name}, {law.formula} ({law.source})" for law in laws.values())
    said = [f"We fitted {named}."]
    for what, name in (("law_fit", "Fit"), ("law_interval", "Intervals of its parameters")):
        if isinstance(analysis.methods.get(what), str):
            said.append(f"{name}: {analysis.methods[what]}.")
    for series in analysis.series:
        chosen = next((law for law in series.laws if law.name == series.chosen), None)
        if chosen is None or chosen.held_out_ranks is None or chosen.held_out_error is None:
            continue
        said.append(
            f"For {series.mode} scaling with {counted(series.tasks_per_node, 'task')} per node, "
            f"{chosen.name} foretold the held-out {counted(chosen.held_out_ranks, 'rank')} to "
            f"{rounded(abs(100 * chosen.held_out_error))} % and was chosen."
        )
    said.append("Nothing is said of more than twice the largest size that was measured.")
    return said


def _where(collected: Collected, origin: StudyProvenance) -> list[str]:
    devices = ", ".join(origin.devices) or "unknown devices"
    nodes = f"{counted(len(origin.nodes), 'node')}"
    machines = counted(origin.machines, "machine")
    place = f"{nodes} ({machines})" if origin.machines != len(origin.nodes) else nodes
    slurm = ""
    if origin.cluster == "slurm":
        version = re.search(r"\d[\w.]*", origin.slurm_version or "")
        where = ", ".join(
            f"{word} {', '.join(names)}"
            for word, names in (
                ("cluster", origin.slurm_cluster), ("partition", origin.partitions)
            )
            if names
        )  # fmt: skip
        slurm = " under SLURM" + (f" {version[0]}" if version else "")
        slurm += f" ({where})" if where else ""
    backend = f", torch.distributed over {', '.join(origin.backends)}" if origin.backends else ""
    versions = ", ".join(
        f"{name} {origin.versions[name]}"
        for name in _NAMED
        if origin.versions.get(name) not in (None, "none", "not installed")
    )
    whose = "" if origin.versions_of == "ranks" else " (of the launcher)"
    code = "; ".join(
        f"commit {checkout.commit[:12]}"
        + (" with changes that are not committed" if checkout.dirty else "")
        for state in origin.code
        for checkout in state.checkouts
        if checkout.commit
    )
    ending = f" Code: {code}." if code else ""
    return [f"Hardware: {devices} on {place}{slurm}{backend}. Software{whose}: {versions}.{ending}"]


def _numbers(numbers: Sequence[int]) -> str:
    return listed([str(each) for each in numbers], most=len(numbers))
