"""The figures of a run's report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.ticker import MaxNLocator

from launcher.pages.drawing import MUTED, new_figure, series_colour, series_style, svg_of
from launcher.run_report.attempts import AttemptSpan
from launcher.run_report.losses import EpochRow
from launcher.run_report.throughput import AttemptRates, Throughput
from launcher.text.durations import duration
from launcher.timing.attribution import PARTS, STEP_PARTS, Attribution

MOST_POINTS = 500
"""Largest number of points on a line; more could not be distinguished."""
MOST_ROWS = 16
"""Largest number of attempts in the timeline, and of bars in one figure."""
_LOSSES = (("training", "train_loss"), ("validation", "val_loss"))
_MARKED = 60
"""Largest number of points that are drawn with markers."""
_LOG_FROM = 8
"""A loss that falls by this factor is drawn on a logarithmic scale."""
_UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
_PHASES = (
    ("waiting", None),
    ("start-up", 4),
    ("training", 0),
    ("checkpoints", 1),
    ("reconstruction, shutdown", 2),
)


def draw_losses(epochs: Sequence[EpochRow], boundaries: Mapping[int, float]) -> str | None:
    """Draw training and validation loss over the epochs.

    Args:
        epochs: the epochs, as `read_epochs` returns them.
        boundaries: attempt → number of epochs completed when it began.

    Returns:
        The SVG; None: there is nothing to draw.
    """
    kept = sorted((e for e in epochs if e.standing != "given_up"), key=lambda e: e.epoch)
    lost = [e for e in epochs if e.standing == "given_up"]
    values = [v for e in epochs for v in (e.train_loss, e.val_loss) if v is not None]
    if not values:
        return None
    figure = new_figure(7.2, 3.6)
    axes = figure.subplots()
    for number, (label, name) in enumerate(_LOSSES):
        points = _points(kept, name)
        style: dict[str, Any] = {"color": series_colour(number)}
        if points:
            style["marker"] = "os"[number] if len(points) <= _MARKED else None
            thin = _thinned(points)
            axes.plot(*zip(*thin, strict=True), label=label, markersize=3.5, **style)
        label = f"{label}, lost"
        for attempt in sorted({e.attempt or 0 for e in lost}):
            given_up = _points([e for e in lost if (e.attempt or 0) == attempt], name)
            if given_up:
                before = [point for point in points if point[0] < given_up[0][0]]
                line = [*before[-1:], *_thinned(given_up)]
                axes.plot(
                    *zip(*line, strict=True), ":x", linewidth=1.2, markersize=7, label=label,
                    markevery=range(len(before[-1:]), len(line)), color=series_colour(number),
                )  # fmt: skip
                label = "_"  # once in the legend
    for attempt, at in _readable(boundaries):
        axes.axvline(at, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate(
            f"attempt {attempt}", (at, 1), xycoords=("data", "axes fraction"), xytext=(3, -2),
            textcoords="offset points", rotation=90, va="top", fontsize=7, color=MUTED,
        )  # fmt: skip
    if min(values) > 0 and max(values) / min(values) >= _LOG_FROM:
        axes.set_yscale("log")
    axes.set_xlabel("epochs completed")
    axes.set_ylabel("loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8)
    return svg_of(figure)


def _points(epochs: Sequence[EpochRow], name: str) -> list[tuple[float, float]]:
    return [(e.epoch + 1, v) for e in epochs if (v := getattr(e, name)) is not None]


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about MOST_POINTS points at equal distances, and the last one."""
    every = math.ceil(len(points) / MOST_POINTS)
    thin = list(points[::every])
    if thin[-1] != points[-1]:
        thin.append(points[-1])
    return thin


def _readable(boundaries: Mapping[int, float]) -> list[tuple[int, float]]:
    """The latest boundaries, where there are too many to be distinguished."""
    return sorted(boundaries.items())[-MOST_ROWS:]


def draw_throughput(rates: Throughput) -> str | None:
    """Draw samples/s over the time of the attempts: a line for each rank, or median and range."""
    if not rates.attempts:
        return None
    end = max(attempt.at_s[-1] for attempt in rates.attempts)
    size, unit = next((pair for pair in _UNITS if end >= 3 * pair[0]), _UNITS[-1])
    figure = new_figure(7.2, 3.2)
    axes = figure.subplots()
    for number, attempt in enumerate(rates.attempts):
        _draw_attempt(axes, attempt, size, first=number == 0, measured=rates.measured)
        if number:
            axes.axvline(attempt.began_s / size, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"time of the attempts, {unit} (without the waits between them)")
    axes.set_ylabel("samples/s per rank" if rates.measured else "patterns/s of all ranks")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, ncols=4)
    return svg_of(figure)


def _draw_attempt(
    axes: Any, attempt: AttemptRates, size: float, *, first: bool, measured: bool
) -> None:
    at = [moment / size for moment in attempt.at_s]
    if attempt.by_rank:
        for place, (rank, values) in enumerate(attempt.by_rank.items()):
            axes.plot(
                at, _gaps(values), linewidth=1.3, color=series_colour(place),
                linestyle=series_style(place)["linestyle"],
                label=f"rank {rank}" if first else "_",
            )  # fmt: skip
        return
    marker = "" if measured else "o"
    label = "median of the ranks" if first and measured else "_"
    axes.plot(
        at, _gaps(attempt.middle), marker=marker, markersize=3, color=series_colour(0), label=label
    )
    if measured:
        axes.fill_between(
            at, _gaps(attempt.low), _gaps(attempt.high), color=series_colour(0), alpha=0.25,
            linewidth=0, label="slowest to fastest" if first else "_",
        )  # fmt: skip


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def draw_parts(parts: Mapping[int, Attribution]) -> str | None:
    """Draw a bar for each attempt: milliseconds per step in each part."""
    bars = [(f"attempt {n}", a.parts_s, a.steps) for n, a in sorted(parts.items())][-MOST_ROWS:]
    return _draw_bars(bars)


def draw_parts_by_rank(attribution: Attribution) -> str | None:
    """Draw a bar for each rank of an attempt; of many ranks, those that waited least for others."""
    ranks = list(attribution.by_rank_s)
    if len(ranks) > MOST_ROWS:
        ranks = sorted(ranks, key=lambda rank: attribution.by_rank_s[rank].get("straggler", 0.0))
        ranks = sorted(ranks[:MOST_ROWS])
    return _draw_bars(
        [(f"rank {rank}", attribution.by_rank_s[rank], attribution.steps) for rank in ranks]
    )


def _draw_bars(bars: Sequence[tuple[str, Mapping[str, float], int]]) -> str | None:
    bars = [bar for bar in bars if bar[2] > 0]
    if not bars:
        return None
    figure = new_figure(7.2, 1.3 + 0.32 * len(bars))
    axes = figure.subplots()
    names = [name for name, _, _ in bars]
    left = [0.0] * len(bars)
    for number, part in enumerate(PARTS):
        widths = [1000 * seconds.get(part, 0.0) / steps for _, seconds, steps in bars]
        if any(width > 0 for width in widths):
            axes.barh(
                names, widths, left=left, height=0.62, color=series_colour(number),
                label=STEP_PARTS[part].heading,
            )  # fmt: skip
            left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("ms per optimizer step")
    figure.legend(loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    return svg_of(figure)


def draw_timeline(attempts: Sequence[AttemptSpan]) -> str | None:
    """Draw a row for each attempt; zero is its start, and the wait before it lies to the left."""
    known = [each for each in attempts if each.seconds is not None]
    if not known:
        return None
    shown = known[-MOST_ROWS:]
    longest = max(max(each.seconds or 0.0 for each in shown), 1.0)
    size, unit = next((pair for pair in _UNITS if longest >= 3 * pair[0]), _UNITS[-1])
    most_left = 0.3 * longest
    figure = new_figure(7.2, 1.5 + 0.36 * len(shown))
    axes = figure.subplots()
    for row, each in enumerate(shown):
        waited = (each.waited_s or 0.0) + (each.idle_s or 0.0)
        drawn = min(waited, most_left)
        spans = [("waiting", -drawn, 0.0), *_spans(each)]
        for phase, start, end in spans:
            axes.barh(row, (end - start) / size, left=start / size, height=0.55, **_look(phase))
        if waited > most_left:
            axes.annotate(
                f"… {duration(waited)}", (-drawn / size, row), xytext=(-4, 0),
                textcoords="offset points", ha="right", va="center", fontsize=7,
            )  # fmt: skip
        end_word = "at work" if each.at_work else each.cause.replace("_", " ") or "?"
        axes.annotate(
            end_word[:30], ((each.seconds or 0.0) / size, row), xytext=(4, 0),
            textcoords="offset points", va="center", fontsize=8,
        )  # fmt: skip
    labels = [f"attempt {each.attempt}" for each in shown]
    axes.set_yticks(range(len(shown)), labels)
    axes.invert_yaxis()
    axes.axvline(0, color=MUTED, linewidth=0.8)
    left, right = axes.get_xlim()
    axes.set_xlim(left - (0.12 * (right - left) if left < 0 else 0), right + 0.12 * (right - left))
    axes.set_xlabel(f"{unit} from the start of each attempt")
    for phase, _ in _PHASES:
        axes.barh(0, 0, label=phase, **_look(phase))
    figure.legend(loc="outside upper center", ncols=5, fontsize=8, frameon=False)
    return svg_of(figure)


def _look(phase: str) -> dict[str, Any]:
    number = dict(_PHASES)[phase]
    if number is None:
        return {"color": "none", "edgecolor": MUTED, "hatch": "////", "linewidth": 0.6}
    return {"color": series_colour(number)}


def _spans(each: AttemptSpan) -> list[tuple[str, float, float]]:
    """The phases of an attempt: name, start and end, in seconds from its start."""
    begin, end = each.started_at, each.seconds
    if begin is None or end is None:
        return []
    starting = each.starting_s or 0.0
    spans = [("start-up", 0.0, starting)]
    if each.training_from is None or each.training_until is None:
        return spans
    trained = max(starting, each.training_until - begin)
    spans.append(("training", starting, trained))
    for checkpoint in each.checkpoints[-MOST_POINTS:]:
        at, took = checkpoint.at - begin, checkpoint.seconds or 0.0
        spans.append(("checkpoints", max(starting, at - took), at))
    if end > trained:
        spans.append(("reconstruction, shutdown", trained, end))
    return spans
