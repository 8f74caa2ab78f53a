"""The tables of a study's report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from launcher.pages.page import DataTable
from launcher.pages.words import NONE, amount, percent, rounded
from launcher.scaling.analysis.results import Collected, Law, Missing, Series, Size
from launcher.scaling.analysis.sizes import size_name
from launcher.scaling.report.wording import OVERSUBSCRIBED, estimate, series_name
from launcher.scaling.study.definition import Mode
from launcher.text.counted import counted
from launcher.text.durations import duration
from launcher.timing.attribution import PARTS, STEP_PARTS
from launcher.timing.start_up import STAGE_NAMES, STAGES


def findings_table(measured: Sequence[Series]) -> DataTable:
    """The fastest size and the knee of each series."""
    rows = []
    for series in measured:
        best = max(series.sizes, key=lambda size: size.throughput.value)
        rows.append(
            [
                _named(series).rstrip("."),
                size_name(best),
                estimate(best.throughput),
                percent(best.efficiency.value),
                "none" if series.knee_ranks is None else counted(series.knee_ranks, "rank"),
            ]
        )
    return DataTable(("series", "fastest size", "samples/s", "efficiency", "knee"), rows)


def sizes_table(mode: Mode, sizes: Sequence[Size]) -> DataTable:
    """Throughput, step, speed-up and efficiency of each size, with 95 % intervals."""
    rows = [
        [
            str(size.ranks),
            str(size.nodes),
            str(size.repeats),
            estimate(size.throughput),
            estimate(size.step_s, 1000),
            estimate(size.speedup),
            estimate(size.efficiency, 100),
        ]
        for size in sizes
    ]
    return DataTable(
        ("ranks", "nodes", "runs", "samples/s", "step, ms", "speed-up", "efficiency, %"),
        rows,
        _caption(
            mode,
            sizes,
            "95 % intervals in parentheses. Speed-up and efficiency are relative to the smallest "
            "size with the same number of tasks per node.",
        ),
        _marked(sizes),
    )


def parts_table(mode: Mode, sizes: Sequence[Size]) -> DataTable:
    """Milliseconds per step in each part, mean over the ranks; parts without time are left out."""
    shown = [part for part in PARTS if any(size.parts_s.get(part) for size in sizes)]
    rows = [
        [
            str(size.ranks),
            str(size.nodes),
            *(rounded(1000 * size.parts_s.get(part, 0.0)) for part in shown),
            rounded(1000 * sum(size.parts_s.values())),
        ]
        for size in sizes
    ]
    return DataTable(
        ("ranks", "nodes", *(STEP_PARTS[part].heading for part in shown), "total"),
        rows,
        _caption(
            mode,
            sizes,
            "Milliseconds per step, mean over the ranks. Data and slower ranks: time spent waiting "
            "for them.",
        ),
        _marked(sizes),
    )


def start_up_table(mode: Mode, sizes: Sequence[Size]) -> DataTable:
    """Seconds in each stage of the start-up, those of the slowest rank."""
    shown = [stage for stage in STAGES if any(stage in size.start_up_s for size in sizes)]
    rows = [
        [
            str(size.ranks),
            str(size.nodes),
            *(_hundredths(size.start_up_s.get(stage)) for stage in shown),
            _hundredths(sum(size.start_up_s.values())),
        ]
        for size in sizes
    ]
    return DataTable(
        ("ranks", "nodes", *(STAGE_NAMES[stage] for stage in shown), "total"),
        rows,
        _caption(mode, sizes, "Seconds of the slowest rank in each stage."),
        _marked(sizes),
    )


def laws_table(series: Series) -> DataTable:
    """The fitted laws, with their parameters and their errors at the held-out size."""
    rows = [
        [
            law.name + (" (chosen)" if law.name == series.chosen else ""),
            law.formula,
            "; ".join(
                f"{name} {estimate(found)}" + (" samples/s" if name == "X1" else "")
                for name, found in law.parameters.items()
            ),
            _held_out(law),
            law.source,
        ]
        for law in series.laws
    ]
    return DataTable(
        ("law", "formula", "parameters (95 % intervals)", "error at the held-out size", "source"),
        rows,
        _named(series),
    )


def _held_out(law: Law) -> str:
    if law.held_out_ranks is None or law.held_out_error is None:
        return NONE
    sign = "+" if law.held_out_error > 0 else ""
    return f"{law.held_out_ranks} ranks: {sign}{rounded(100 * law.held_out_error)} %"


def time_to_solution_table(mode: Mode, sizes: Sequence[Size]) -> DataTable:
    """The time to the target loss of each size, over the runs that reached it."""
    rows = []
    for size in sizes:
        seconds = size.time_to_solution_s or size.time_to_solution_mean_s
        rows.append(
            [
                str(size.ranks),
                str(size.nodes),
                str(size.time_to_solution_runs),
                rounded(size.time_to_solution_s),
                rounded(size.time_to_solution_mean_s),
                NONE if seconds is None else rounded(seconds * size.nodes / 3600),
            ]
        )
    return DataTable(
        (
            "ranks",
            "nodes",
            "runs that reached it",
            "by the rule of MLPerf HPC, s",
            "plain mean, s",
            "node-hours",
        ),
        rows,
        _caption(
            mode,
            sizes,
            "The rule needs at least five runs; the fastest and the slowest are left out.",
        ),
        _marked(sizes),
    )


def resources_table(mode: Mode, sizes: Sequence[Size]) -> DataTable:
    """Goodput, peak memory and GPU utilisation of each size."""
    rows = [
        [
            str(size.ranks),
            str(size.nodes),
            percent(size.goodput),
            amount(size.host_peak_bytes),
            amount(size.device_peak_bytes),
            percent(size.gpu_utilisation),
        ]
        for size in sizes
    ]
    return DataTable(
        (
            "ranks",
            "nodes",
            "goodput",
            "host memory, peak",
            "device memory, peak",
            "GPU utilisation",
        ),
        rows,
        _caption(mode, sizes, "Memory of the rank that needs most."),
        _marked(sizes),
    )


def missing_table(missing: Sequence[Missing]) -> DataTable:
    """The points without a valid measurement."""
    rows = [
        [
            each.run_id,
            ", ".join(each.point.modes),
            str(each.point.ranks),
            str(each.point.nodes),
            str(each.point.repeat + 1),
            each.state,
            each.why,
        ]
        for each in missing
    ]
    return DataTable(("run", "mode", "ranks", "nodes", "repeat", "state", "why"), rows)


def runs_table(collected: Collected) -> DataTable:
    """All runs with a measurement, in the order in which they ran."""
    measured = sorted(collected.measured, key=lambda each: each.point.index)
    rows = [
        [
            each.run_id.rpartition(".")[2],
            ", ".join(each.point.modes),
            str(each.point.ranks),
            str(each.point.nodes),
            str(each.point.repeat + 1),
            str(each.point.batch_size),
            rounded(each.attribution.samples_per_s),
            rounded(1000 * each.attribution.wall_s / max(1, each.attribution.steps)),
            str(each.attribution.steps),
            rounded(each.loss),
            str(each.attempts),
            duration(each.job_s),
        ]
        for each in measured
    ]
    caption = f"Runs of the study {collected.study.name}, in the order in which they ran."
    if any(each.oversubscribed for each in measured):
        caption += f" ◇: {OVERSUBSCRIBED}."
    return DataTable(
        (
            "run",
            "mode",
            "ranks",
            "nodes",
            "repeat",
            "batch per rank",
            "samples/s",
            "step, ms",
            "steps",
            "loss",
            "attempts",
            "job time",
        ),
        rows,
        caption,
        [row for row, each in enumerate(measured) if each.oversubscribed],
    )


def _hundredths(seconds: float | None) -> str:
    return NONE if seconds is None or not math.isfinite(seconds) else f"{seconds:.2f}"


def _named(series: Series) -> str:
    name = series_name(series)
    return name[0].upper() + name[1:] + "."


def _caption(mode: Mode, sizes: Sequence[Size], more: str) -> str:
    marked = f"◇: {OVERSUBSCRIBED}." if _marked(sizes) else ""
    return " ".join(part for part in (f"{mode.capitalize()} scaling.", more, marked) if part)


def _marked(sizes: Sequence[Size]) -> list[int]:
    return [row for row, size in enumerate(sizes) if size.oversubscribed]
