"""Curves over the number of ranks: throughput and efficiency."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from launcher.pages.drawing import GRID, INK, MUTED, PAPER, new_figure, series_colour, series_style
from launcher.pages.words import percent, rounded
from launcher.scaling.analysis.laws import FARTHEST
from launcher.scaling.analysis.results import Estimate, Law, Series, Size
from launcher.scaling.report.drawn import LEGEND, Drawn, drawable
from launcher.scaling.report.wording import OVERSUBSCRIBED, series_name
from launcher.text.counted import counted


def throughput(measured: Sequence[Series]) -> Drawn:
    """Throughput over ranks on log2 axes, with the ideal and the chosen law."""
    figure = _panels(measured, "samples/s, all ranks", _throughput_of)
    for axes in figure.axes:
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_locator(LogLocator(base=2, numticks=8))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    said = _by_ranks(measured, lambda size: rounded(size.throughput.value))
    return Drawn(
        "throughput",
        figure,
        "Throughput of all ranks over the number of ranks, both axes logarithmic to base 2; bars "
        "are 95 % intervals. Dotted: proportional to the ranks, from the smallest size. Lines: the "
        "chosen law, dashed beyond the measured sizes.",
        f"Samples per second by number of ranks. {said}.",
    )


def efficiency(measured: Sequence[Series]) -> Drawn:
    """Efficiency over ranks on a log2 axis."""
    figure = _panels(measured, "efficiency", _efficiency_of)
    highest = max(
        (drawable(size.efficiency.high) for series in measured for size in series.sizes),
        default=1.0,
    )
    for axes in figure.axes:
        axes.set_ylim(0, max(1.1, min(1.05 * highest, 2.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    said = _by_ranks(measured, lambda size: percent(size.efficiency.value))
    return Drawn(
        "efficiency",
        figure,
        "Efficiency: the speed-up over the smallest size, divided by the ratio of the ranks. Bars "
        "are 95 % intervals.",
        f"Efficiency by number of ranks. {said}.",
    )


def _by_ranks(measured: Sequence[Series], figure_of: Callable[[Size], str]) -> str:
    """A figure of each size in words: `strong scaling, 1 task per node: 1: 20, 2: 39`."""
    return "; ".join(
        f"{series_name(series)}: "
        + ", ".join(f"{size.ranks}: {figure_of(size)}" for size in series.sizes)
        for series in measured
    )


def _panels(
    measured: Sequence[Series], label: str, draw: Callable[[Axes, Series, int], None]
) -> Figure:
    """Draw one panel per mode, side by side, with one legend below."""
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
    """The measured sizes, without those whose labels would overlap their neighbours'."""
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
    points = _within(law, FARTHEST * last.ranks)
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


def _legend_of_series(figure: Figure, tasks: Sequence[int], measured: Sequence[Series]) -> None:
    handles: list[Line2D] = []
    for place, per_node in enumerate(tasks):
        style = series_style(place)
        label = f"{counted(per_node, 'task')} per node"
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
    figure.legend(handles=handles, ncols=4, **LEGEND)
