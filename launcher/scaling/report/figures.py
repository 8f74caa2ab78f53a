"""The figures of a study's report: throughput, efficiency, the parts of a step, start-up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from launcher.pages.drawing import (
    GRID,
    INK,
    MUTED,
    PAPER,
    new_figure,
    series_colour,
    series_style,
)
from launcher.scaling.report.wording import (
    OVERSUBSCRIBED,
    PART_NAMES,
    START_UP_NAMES,
    by_mode,
    number,
    percent,
    series_name,
    several,
    size_name,
)
from launcher.scaling.results import PARTS, Estimate, Law, Series, Size, StudyAnalysis
from launcher.scaling.study import Mode
from ptycho_dist.rundir.step_times import START_UP

FURTHEST = 2.0
"""No curve is drawn past so many times the largest size that was measured."""
_HATCH = "////"
_VISIBLE = 0.004
"""Of the longest bar: as wide as the line between two parts."""
_LEGEND: dict[str, Any] = {
    "frameon": False, "fontsize": 9, "columnspacing": 1.4, "handlelength": 1.8
}  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """A figure and the words that belong to it."""

    name: str
    """Of its files."""
    figure: Figure
    caption: str
    alternative: str


def study_figures(analysis: StudyAnalysis) -> list[Drawn]:
    """All figures, in the order of the page; none of a study that has measured nothing."""
    measured = [series for series in analysis.series if series.sizes]
    if not measured:
        return []
    modes = by_mode(measured)
    return [
        _throughput(measured),
        *([_efficiency(measured)] if any(len(series.sizes) > 1 for series in measured) else []),
        *(_parts(mode, sizes) for mode, sizes in modes.items()),
        *(_start_up(mode, sizes) for mode, sizes in modes.items() if _has_start_up(sizes)),
    ]


# --- curves over ranks -----------------------------------------------------------------------


def _throughput(measured: Sequence[Series]) -> Drawn:
    figure = _panels(measured, "samples/s, all ranks", _throughput_of)
    for axes in figure.axes:
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_locator(LogLocator(base=2, numticks=8))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    said = [
        f"{series_name(series)}: "
        + ", ".join(f"{size.ranks}: {number(size.throughput.value)}" for size in series.sizes)
        for series in measured
    ]
    return Drawn(
        "throughput",
        figure,
        "Throughput of all ranks over the number of ranks, both axes to base 2; bars are 95 % "
        "intervals. Dotted: in proportion to the ranks, from the smallest size. Lines are the "
        "chosen law, dashed beyond what was measured.",
        f"Samples per second by number of ranks. {'; '.join(said)}.",
    )


def _efficiency(measured: Sequence[Series]) -> Drawn:
    figure = _panels(measured, "efficiency", _efficiency_of)
    highest = max(
        (_finite(size.efficiency.high) for series in measured for size in series.sizes),
        default=1.0,
    )
    for axes in figure.axes:
        axes.set_ylim(0, max(1.1, min(1.05 * highest, 2.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    said = [
        f"{series_name(series)}: "
        + ", ".join(f"{size.ranks}: {percent(size.efficiency.value)}" for size in series.sizes)
        for series in measured
    ]
    return Drawn(
        "efficiency",
        figure,
        "Efficiency: speed-up over the smallest size, beside that of the ranks. Bars are 95 % "
        "intervals.",
        f"Efficiency by number of ranks. {'; '.join(said)}.",
    )


def _panels(
    measured: Sequence[Series], label: str, draw: Callable[[Axes, Series, int], None]
) -> Figure:
    """One panel per mode beside each other, the series of a mode in it, one legend below."""
    modes = list(dict.fromkeys(series.mode for series in measured))
    figure = new_figure(height_in=3.9)
    row = figure.subplots(1, len(modes), sharey=True, squeeze=False)[0]
    tasks = sorted({series.tasks_per_node for series in measured})
    ranks = sorted({size.ranks for series in measured for size in series.sizes})
    for axes, mode in zip(row, modes, strict=True):
        axes.set_title(f"{mode} scaling", fontsize=10, fontweight="bold")
        axes.set_xscale("log", base=2)
        for series in measured:
            if series.mode == mode:
                draw(axes, series, tasks.index(series.tasks_per_node))
        axes.xaxis.set_major_locator(FixedLocator(_readable(ranks)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
        axes.set_xlabel("ranks")
        axes.grid(True, color=GRID)
    row[0].set_ylabel(label)
    _legend_of_series(figure, tasks, measured)
    return figure


def _readable(ranks: Sequence[int]) -> list[int]:
    """The measured sizes, without those whose labels would lie upon their neighbours'."""
    kept: list[int] = []
    for each in ranks:
        if not kept or each >= 1.25 * kept[-1]:
            kept.append(each)
    return kept


def _throughput_of(axes: Axes, series: Series, place: int) -> None:
    first, last = series.sizes[0], series.sizes[-1]
    ideal = [(r, first.throughput.value * r / first.ranks) for r in (first.ranks, last.ranks)]
    axes.plot(*zip(*ideal, strict=True), color=MUTED, linestyle=":", linewidth=1.2, zorder=1)
    law = next((law for law in series.laws if law.name == series.chosen), None)
    points = _within(law, FURTHEST * last.ranks)
    colour = series_colour(place)
    inside = [point for point in points if point[0] <= last.ranks]
    beyond = [point for point in points if point[0] >= last.ranks]
    for part, style in ((inside, "-"), (beyond, (0, (4, 3)))):
        if len(part) > 1:
            axes.plot(*zip(*part, strict=True), color=colour, linestyle=style, linewidth=1.4)
    if law is None:
        _join(axes, [(size.ranks, size.throughput) for size in series.sizes], colour)
    _points(axes, [(size, size.throughput) for size in series.sizes], place)


def _efficiency_of(axes: Axes, series: Series, place: int) -> None:
    axes.axhline(1.0, color=MUTED, linestyle=":", linewidth=1.2, zorder=1)
    of_sizes = [(size, size.efficiency) for size in series.sizes]
    _join(axes, [(size.ranks, found) for size, found in of_sizes], series_colour(place))
    _points(axes, of_sizes, place)


def _within(law: Law | None, furthest: float) -> list[tuple[float, float]]:
    if law is None:
        return []
    return [
        (ranks, rate)
        for ranks, rate in sorted(law.curve)
        if 0 < ranks <= furthest and 0 < rate < math.inf
    ]


def _join(axes: Axes, found: Sequence[tuple[int, Estimate]], colour: str) -> None:
    axes.plot(
        [ranks for ranks, _ in found],
        [each.value for _, each in found],
        color=colour,
        linewidth=1.4,
    )


def _points(axes: Axes, found: Sequence[tuple[Size, Estimate]], place: int) -> None:
    style = series_style(place)
    for size, each in found:
        if not math.isfinite(each.value):
            continue
        axes.errorbar(
            [size.ranks],
            [each.value],
            yerr=[[_length(each.value - each.low)], [_length(each.high - each.value)]],
            color=style["color"],
            marker=style["marker"],
            markerfacecolor=PAPER if size.oversubscribed else style["color"],
            markersize=7,
            markeredgewidth=1.6,
            linestyle="none",
            elinewidth=1.4,
            capsize=4,
            zorder=3,
        )


def _length(value: float) -> float:
    return value if 0 < value < math.inf else 0.0


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _legend_of_series(figure: Figure, tasks: Sequence[int], measured: Sequence[Series]) -> None:
    handles: list[Line2D] = []
    for place, count in enumerate(tasks):
        style = series_style(place)
        label = f"{several(count, 'task')} per node"
        handles.append(
            Line2D([], [], color=style["color"], marker=style["marker"], markersize=7, label=label)
        )
    handles.append(Line2D([], [], color=MUTED, linestyle=":", label="ideal"))
    if any(size.oversubscribed for series in measured for size in series.sizes):
        handles.append(
            Line2D(
                [], [], color=INK, marker="o", markerfacecolor=PAPER, markersize=7,
                markeredgewidth=1.6, linestyle="none", label=f"open: {OVERSUBSCRIBED}",
            )
        )  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=4, **_LEGEND)


# --- stacked bars ----------------------------------------------------------------------------


def _parts(mode: Mode, sizes: Sequence[Size]) -> Drawn:
    figure = _stack(
        sizes,
        [{part: 1000 * size.parts_s.get(part, 0.0) for part in PARTS} for size in sizes],
        PARTS,
        PART_NAMES,
        "ms per step, mean over the ranks",
    )
    said = [
        f"{size_name(size)}: "
        + ", ".join(
            f"{PART_NAMES[part]} {number(1000 * size.parts_s[part])} ms"
            for part in PARTS
            if size.parts_s.get(part, 0.0) > 0
        )
        for size in sizes
    ]
    return Drawn(
        f"parts-{mode}",
        figure,
        f"Where the time of a step goes: {mode} scaling.",
        f"Parts of a step, {mode} scaling. {'; '.join(said)}.",
    )


def _has_start_up(sizes: Sequence[Size]) -> bool:
    return any(_finite(value) > 0 for size in sizes for value in size.start_up_s.values())


def _start_up(mode: Mode, sizes: Sequence[Size]) -> Drawn:
    stages = ("queue", "launch", *START_UP)
    figure = _stack(
        sizes,
        [{stage: size.start_up_s.get(stage, 0.0) for stage in stages} for size in sizes],
        stages,
        START_UP_NAMES,
        "s, the slowest rank's",
    )
    said = [f"{size_name(size)}: {number(sum(size.start_up_s.values()))} s" for size in sizes]
    return Drawn(
        f"start-up-{mode}",
        figure,
        f"From the queue to the first batch: {mode} scaling.",
        f"Start-up, {mode} scaling. {'; '.join(said)}.",
    )


def _stack(
    sizes: Sequence[Size],
    values: Sequence[Mapping[str, float]],
    order: Sequence[str],
    names: Mapping[str, str],
    label: str,
) -> Figure:
    """One bar per size, the smallest on top; the legend has what can be seen."""
    longest = max(sum(max(0.0, _finite(width)) for width in each.values()) for each in values)
    shown = [name for name in order if any(_finite(each[name]) > 0 for each in values)]
    seen = [n for n in shown if any(_finite(each[n]) > _VISIBLE * longest for each in values)]
    rows = math.ceil((len(seen) + 1) / 3)
    figure = new_figure(height_in=0.95 + 0.42 * len(sizes) + 0.24 * rows)
    axes = figure.subplots()
    marked = any(size.oversubscribed for size in sizes)
    for row, (size, each) in enumerate(zip(sizes, values, strict=True)):
        left = 0.0
        for name in shown:
            width = max(0.0, _finite(each[name]))
            axes.barh(
                row, width, left=left, height=0.66, color=series_colour(order.index(name)),
                edgecolor=PAPER, linewidth=0.8, hatch=_HATCH if size.oversubscribed else None,
            )  # fmt: skip
            left += width
        axes.annotate(
            number(left), (left, row), xytext=(4, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(
        range(len(sizes)),
        [f"{several(s.ranks, 'rank')}, {several(s.nodes, 'node')}" for s in sizes],
    )
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.set_xlabel(label)
    axes.grid(True, axis="x", color=GRID)
    handles = [
        Patch(facecolor=series_colour(order.index(name)), edgecolor=PAPER, label=names[name])
        for name in seen
    ]
    if marked:
        handles.append(
            Patch(
                facecolor=MUTED, edgecolor=PAPER, hatch=_HATCH, label=f"hatched: {OVERSUBSCRIBED}"
            )
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=3, **_LEGEND)
    return figure
