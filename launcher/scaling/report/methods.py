"""The methods paragraph: what was measured and how, in the words of a proposal or a paper."""

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
    "none": "an unchanged learning rate",
}
_NAMED = ("python", "torch", "lightning", "cuda", "nccl", "numpy", "ptycho-dist")
"""Packages that the paragraph names; the provenance table lists all."""


def methods_text(collected: Collected, analysis: StudyAnalysis, origin: StudyProvenance) -> str:
    """The paragraph, ready to be pasted; every number in it comes from this study."""
    study = collected.study
    return " ".join(
        [
            *_what(study, analysis, origin),
            *_how(collected),
            *_statistics(analysis),
            *_laws(analysis),
            *_where(origin),
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
        said.append(f"Strong scaling keeps the global batch of {kept} samples constant.")
    if study.measurement.until == "target_loss":
        said.append(
            "Each repeat has its own random seed for the network and the order of the data."
        )
    if "weak" in study.modes:
        kept = exact(base.batch_size)
        said.append(
            f"Weak scaling keeps the batch of {kept} samples per rank constant, with "
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
        "target_loss": f"all steps until the loss of an epoch was at most {exact(plan.value)}",
    }[plan.until]
    measured, all_points = len(collected.measured), len(study.points)
    said = [
        f"Each size was run {counted(study.repeats, 'time')}, in randomised complete blocks: all "
        f"sizes of one repeat ran before those of the next, in random order (seed {study.seed}), "
        "so that a drift of the machine does not look like scaling. Of "
        f"{counted(all_points, 'run')}, {measured} gave a measurement.",
        f"Each run measured {until}, after {counted(plan.warm_up_steps, 'optimizer step')} of "
        "warm-up at the beginning of each attempt, which were discarded.",
        "Throughput is the number of samples of all ranks divided by the wall time of these steps "
        "without checkpoints and validation. Every moment of a rank belongs to exactly one part of "
        "a step; start-up is measured separately.",
    ]
    oversubscribed = sum(each.oversubscribed for each in collected.measured)
    if oversubscribed:
        cores = max(each.cores for each in collected.measured)
        machines = max(each.machines for each in collected.measured)
        where = "the machine has" if machines == 1 else f"the {machines} machines have"
        said.append(
            f"In {oversubscribed} of these runs the ranks used more threads than {where} cores "
            f"({cores}); they show the overhead of the launcher, not the scaling of the training."
        )
    return said


def _statistics(analysis: StudyAnalysis) -> list[str]:
    said = [
        f"Intervals are {percent(analysis.methods.get('confidence', 0.95))} confidence intervals: "
        f"{analysis.methods.get('interval', 'bootstrap over the repeats')}, with "
        f"{exact(analysis.methods.get('resamples'))} resamples."
    ]
    runs = [size.time_to_solution_runs for series in analysis.series for size in series.sizes]
    if any(runs):
        said.append(
            "Time to solution runs from the start of the first attempt, including data staging, "
            "until the target loss is reached; with five runs or more it is the mean without the "
            "fastest and the slowest run (MLPerf HPC, Farrell et al. 2021)."
        )
    return said


def _laws(analysis: StudyAnalysis) -> list[str]:
    laws = {law.name: law for series in analysis.series for law in series.laws}
    if not laws:
        return []
    named = "; ".join(f"{law.name}, {law.formula} ({law.source})" for law in laws.values())
    said = [f"We fitted the following laws: {named}."]
    for what, name in (("law_fit", "Fit"), ("law_interval", "Parameter intervals")):
        if isinstance(analysis.methods.get(what), str):
            said.append(f"{name}: {analysis.methods[what]}.")
    for series in analysis.series:
        chosen = next((law for law in series.laws if law.name == series.chosen), None)
        if chosen is None or chosen.held_out_ranks is None or chosen.held_out_error is None:
            continue
        said.append(
            f"For {series.mode} scaling with {counted(series.tasks_per_node, 'task')} per node, "
            f"{chosen.name} predicted the throughput at the held-out size of "
            f"{counted(chosen.held_out_ranks, 'rank')} within "
            f"{rounded(abs(100 * chosen.held_out_error))} % and was chosen."
        )
    said.append("No statement is made about sizes beyond twice the largest measured size.")
    return said


def _where(origin: StudyProvenance) -> list[str]:
    devices = ", ".join(origin.devices) or "unknown devices"
    nodes = counted(len(origin.nodes), "node")
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
        f"commit {checkout.commit[:12]}" + (" with uncommitted changes" if checkout.dirty else "")
        for state in origin.code
        for checkout in state.checkouts
        if checkout.commit
    )
    ending = f" Code: {code}." if code else ""
    return [f"Hardware: {devices} on {place}{slurm}{backend}. Software{whose}: {versions}.{ending}"]


def _numbers(numbers: Sequence[int]) -> str:
    return listed([str(each) for each in numbers], most=len(numbers))
