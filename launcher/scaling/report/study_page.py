"""The page of a study: first the findings, then what they rest on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from launcher.pages.drawing import svg_of
from launcher.pages.page import Block, Caution, Code, DataTable, Figure, Page, Section, Text
from launcher.pages.words import NONE, percent, rounded
from launcher.provenance.code_states import code_table
from launcher.scaling.analysis.results import Collected, ForDeadline, Series, Size, StudyAnalysis
from launcher.scaling.analysis.sizes import size_name
from launcher.scaling.report.drawn import Drawn
from launcher.scaling.report.methods import methods_text
from launcher.scaling.report.provenance import StudyProvenance
from launcher.scaling.report.tables import (
    findings_table,
    laws_table,
    missing_table,
    parts_table,
    resources_table,
    runs_table,
    sizes_table,
    start_up_table,
    time_to_solution_table,
)
from launcher.scaling.report.wording import by_mode, estimate, sentence, series_name
from launcher.text.counted import counted
from launcher.text.durations import duration

_NOTHING = "No run of this study has given a valid measurement."


def study_page(
    collected: Collected, analysis: StudyAnalysis, origin: StudyProvenance, figures: Sequence[Drawn]
) -> Page:
    """The whole page; empty sections are left out."""
    measured = [series for series in analysis.series if series.sizes]
    drawn = {each.name: each for each in figures}
    sections = [
        Section("Findings", list(_found(measured))),
        Section("Warnings", [Caution(sentence(w)) for w in _warnings(analysis)]),
        Section("Throughput and efficiency", list(_curves(measured, drawn))),
        Section("Where the time of a step goes", list(_parts(measured, drawn))),
        Section("Scaling laws", list(_laws(measured))),
        Section("Cheapest size for the deadline", list(_deadline(analysis.deadline))),
        Section("Start-up", list(_start_up(measured, drawn))),
        Section("Time to solution", list(_time_to_solution(measured))),
        Section("Goodput, memory and GPUs", list(_resources(measured))),
        Section("Runs without a measurement", _missing(collected)),
        Section(
            "Methods",
            [
                Text("Text for a proposal or a paper:"),
                Code(methods_text(collected, analysis, origin)),
            ],
        ),
        Section("All runs", [runs_table(collected)] if collected.measured else []),
        Section("Provenance", list(_provenance(origin))),
        Section("How to repeat this study", [Code(origin.command)] if origin.command else []),
    ]
    study = collected.study
    began = time.strftime("%Y-%m-%d", time.localtime(study.created_at))
    subtitle = (
        f"Scaling study of {began} on {origin.cluster}: {' and '.join(study.modes)} scaling, "
        f"{len(collected.measured)} of {counted(len(study.points), 'run')} with a measurement"
    )
    return Page(
        f"Scaling study: {study.name}",
        subtitle,
        [section for section in sections if section.blocks],
    )


def finding(measured: Sequence[Series]) -> str:
    """The main finding in words: the fastest size of all, and the knee of its series."""
    return _finding(_best(measured)) if measured else _NOTHING


def _found(measured: Sequence[Series]) -> Iterator[Block]:
    yield Text(finding(measured))
    if not measured:
        return
    best = _best(measured)
    # Show the heading and the largest loss (after a note on the cores, if any); the section on the
    # parts of a step shows the rest.
    most = 3 if any(size.oversubscribed for size in best.sizes) else 2
    limits = " ".join(map(sentence, best.limits[:most]))
    if limits:
        yield Text(f"What limits the scaling: {limits}")
    if len(measured) > 1:
        yield findings_table(measured)


def _best(measured: Sequence[Series]) -> Series:
    return max(measured, key=lambda series: _fastest(series).throughput.value)


def _finding(series: Series) -> str:
    name = series_name(series)
    best = _fastest(series)
    first = series.sizes[0]
    said = f"{name[0].upper()}{name[1:]}: the fastest size is {size_name(best)}, with "
    said += f"{estimate(best.throughput)} samples/s"
    if best is not first:
        said += (
            f", {estimate(best.speedup)} times as fast as {size_name(first)} "
            f"(efficiency {percent(best.efficiency.value)})"
        )
    elif len(series.sizes) > 1:
        said += "; no larger size is faster"
    said += "."
    if series.knee_ranks is not None:
        said += f" The knee is at {counted(series.knee_ranks, 'rank')}."
    elif len(series.sizes) > 1:
        said += f" There is no knee up to {counted(series.sizes[-1].ranks, 'rank')}."
    return said


def _fastest(series: Series) -> Size:
    return max(series.sizes, key=lambda size: size.throughput.value)


def _warnings(analysis: StudyAnalysis) -> Sequence[str]:
    return [warning for warning in analysis.warnings if warning.strip()]


def _figure(drawn: dict[str, Drawn], name: str) -> Iterator[Block]:
    if name in drawn:
        each = drawn[name]
        yield Figure(svg_of(each.figure), each.caption, each.alternative)


def _curves(measured: Sequence[Series], drawn: dict[str, Drawn]) -> Iterator[Block]:
    yield from _figure(drawn, "throughput")
    yield from _figure(drawn, "efficiency")
    for mode in dict.fromkeys(series.mode for series in measured):
        of_mode = [series for series in measured if series.mode == mode]
        yield sizes_table(mode, [size for series in of_mode for size in series.sizes])
    for series in measured:
        if series.knee_why:
            yield Text(f"Knee, {series_name(series)}. {sentence(series.knee_why)}")


def _parts(measured: Sequence[Series], drawn: dict[str, Drawn]) -> Iterator[Block]:
    for mode, sizes in by_mode(measured).items():
        yield from _figure(drawn, f"parts-{mode}")
        yield parts_table(mode, sizes)
        for series in measured:
            if series.mode == mode:
                limits = " ".join(map(sentence, series.limits))
                yield Text(f"{counted(series.tasks_per_node, 'task')} per node. {limits}")


def _laws(measured: Sequence[Series]) -> Iterator[Block]:
    for series in measured:
        if series.laws:
            yield laws_table(series)
        name = series_name(series)
        if series.why_chosen:
            yield Text(sentence(f"{name}. {sentence(series.why_chosen)}"))


def _deadline(found: ForDeadline | None) -> Iterator[Block]:
    if found is None:
        return
    if found.nodes is None:
        yield Text(f"For {duration(found.deadline_s)}, {found.mode} scaling: {sentence(found.why)}")
        return
    tasks = f" with {counted(found.tasks_per_node, 'task')} each" if found.tasks_per_node else ""
    yield Text(
        f"Within {duration(found.deadline_s)}, the cheapest size is {counted(found.nodes, 'node')}"
        f"{tasks}, {found.mode} scaling: {rounded(found.hours)} h, {rounded(found.node_hours)} "
        f"node-hours. {sentence(found.why)}".strip()
    )
    if found.extrapolated:
        yield Caution("This size was not measured; the chosen law predicts it.")


def _start_up(measured: Sequence[Series], drawn: dict[str, Drawn]) -> Iterator[Block]:
    for mode, sizes in by_mode(measured).items():
        if any(size.start_up_s for size in sizes):
            yield from _figure(drawn, f"start-up-{mode}")
            yield start_up_table(mode, sizes)


def _time_to_solution(measured: Sequence[Series]) -> Iterator[Block]:
    for mode, sizes in by_mode(measured).items():
        if any(size.time_to_solution_runs for size in sizes):
            yield time_to_solution_table(mode, sizes)


def _resources(measured: Sequence[Series]) -> Iterator[Block]:
    for mode, sizes in by_mode(measured).items():
        yield resources_table(mode, sizes)


def _missing(collected: Collected) -> list[Block]:
    return [missing_table(collected.missing)] if collected.missing else []


def _provenance(origin: StudyProvenance) -> Iterator[Block]:
    if len(origin.code) > 1:
        yield Caution(f"The runs used {len(origin.code)} different states of the code.")
    yield DataTable(("item", "value"), list(_facts(origin)))
    if origin.code:
        yield code_table(origin.code)
    whose = (
        "recorded by the ranks"
        if origin.versions_of == "ranks"
        else "of the launcher that made this report, because the runs recorded none"
    )
    yield DataTable(("package", "version"), list(origin.versions.items()), f"Versions {whose}.")
    if origin.variables:
        yield DataTable(
            ("variable", "value"),
            list(origin.variables.items()),
            "Environment variables of rank 0.",
        )


def _facts(origin: StudyProvenance) -> Iterator[tuple[str, str]]:
    yield "study", origin.directory
    yield "config, SHA-256", origin.config_sha256
    if not origin.code:
        yield "code", "not recorded"
    yield "devices", ", ".join(origin.devices) or NONE
    yield "nodes", ", ".join(origin.nodes) or NONE
    yield "machines", str(origin.machines)
    yield "torch.distributed", ", ".join(origin.backends) or NONE
    if origin.cluster != "slurm":
        yield "cluster", origin.cluster
        return
    yield "SLURM", f"{origin.slurm_version or 'none'} (on the machine that made this report)"
    yield "SLURM cluster", ", ".join(origin.slurm_cluster) or NONE
    yield "partition", ", ".join(origin.partitions) or NONE
