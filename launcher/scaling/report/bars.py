"""Stacked bars, one per size: the parts of a step, and the stages of the start-up."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from launcher.pages.drawing import GRID, MUTED, PAPER, new_figure, series_colour
from launcher.pages.words import rounded
from launcher.scaling.analysis.results import Size
from launcher.scaling.analysis.sizes import size_name
from launcher.scaling.report.drawn import LEGEND, Drawn, drawable
from launcher.scaling.report.wording import OVERSUBSCRIBED
from launcher.scaling.study.definition import Mode
from launcher.text.counted import counted
from launcher.timing.attribution import PARTS, STEP_PARTS
from launcher.timing.start_up import STAGE_NAMES, STAGES

_HATCH = "////"
_VISIBLE = 0.004
"""Fraction of the longest bar below which a part is too thin to be seen."""


def parts(mode: Mode, sizes: Sequence[Size]) -> Drawn:
    """The bars of a step: milliseconds in each of PARTS, mean over the ranks."""
    figure = _stack(
        sizes,
        [{part: 1000 * size.parts_s.get(part, 0.0) for part in PARTS} for size in sizes],
        PARTS,
        {part: words.heading for part, words in STEP_PARTS.items()},
        "ms per step, mean over the ranks",
    )
    said = [
        f"{size_name(size)}: "
        + ", ".join(
            f"{STEP_PARTS[part].name} {rounded(1000 * size.parts_s[part])} ms"
            for part in PARTS
            if size.parts_s.get(part, 0.0) > 0
        )
        for size in sizes
    ]
    return Drawn(
        f"parts-{mode}",
        figure,
        f"Parts of an optimizer step, {mode} scaling, mean over the ranks.",
        f"Parts of a step, {mode} scaling. {'; '.join(said)}.",
    )


def has_start_up(sizes: Sequence[Size]) -> bool:
    """Whether the start-up time of any size is known."""
    return any(drawable(value) > 0 for size in sizes for value in size.start_up_s.values())


def start_up(mode: Mode, sizes: Sequence[Size]) -> Drawn:
    """The bars of the start-up: seconds from the queue to the first batch, slowest rank."""
    figure = _stack(
        sizes,
        [{stage: size.start_up_s.get(stage, 0.0) for stage in STAGES} for size in sizes],
        STAGES,
        STAGE_NAMES,
        "s, slowest rank in each stage",
    )
    said = [f"{size_name(size)}: {rounded(sum(size.start_up_s.values()))} s" for size in sizes]
    return Drawn(
        f"start-up-{mode}",
        figure,
        f"From the queue to the first batch, {mode} scaling, slowest rank in each stage.",
        f"Start-up, {mode} scaling. {'; '.join(said)}.",
    )


def _stack(
    sizes: Sequence[Size],
    values: Sequence[Mapping[str, float]],
    order: Sequence[str],
    names: Mapping[str, str],
    label: str,
) -> Figure:
    """Draw one bar per size, the smallest on top; the legend names what is wide enough to see."""
    longest = max(sum(max(0.0, drawable(width)) for width in each.values()) for each in values)
    shown = [name for name in order if any(drawable(each[name]) > 0 for each in values)]
    seen = [n for n in shown if any(drawable(each[n]) > _VISIBLE * longest for each in values)]
    rows = math.ceil((len(seen) + 1) / 3)
    figure = new_figure(height_in=0.95 + 0.42 * len(sizes) + 0.24 * rows)
    axes = figure.subplots()
    marked = any(size.oversubscribed for size in sizes)
    for row, (size, each) in enumerate(zip(sizes, values, strict=True)):
        left = 0.0
        for name in shown:
            width = max(0.0, drawable(each[name]))
            axes.barh(
                row, width, left=left, height=0.66, color=series_colour(order.index(name)),
                edgecolor=PAPER, linewidth=0.8, hatch=_HATCH if size.oversubscribed else None,
            )  # fmt: skip
            left += width
        axes.annotate(
            rounded(left), (left, row), xytext=(4, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(
        range(len(sizes)),
        [f"{counted(s.ranks, 'rank')}, {counted(s.nodes, 'node')}" for s in sizes],
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
    figure.legend(handles=handles, ncols=3, **LEGEND)
    return figure
