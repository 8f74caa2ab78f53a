"""The cheapest size that does the work of the config before a deadline.

    hours(p) = start-up + (samples per epoch × epochs / X(p)) × wall / training

Start-up lasts from the start of the job to the first batch, without the queue. wall / training is
what checkpoints and validation added to the measured steps. If a measured size is in time, the
cheapest of these is chosen; otherwise the law predicts other node counts, up to twice the largest
measured one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from launcher.scaling.analysis.laws import FARTHEST, throughput_by
from launcher.scaling.analysis.results import ForDeadline, Law, Series, Size
from launcher.scaling.analysis.sizes import size_name
from launcher.scaling.study.definition import BaseSetup, Mode
from launcher.text.durations import duration
from launcher.timing.attribution import training_s

_HOUR_S = 3600.0


@dataclass(frozen=True)
class _Candidate:
    """A size with the time that it needs."""

    nodes: int
    tasks_per_node: int
    seconds: float
    at_worst_s: float
    """Seconds needed with the throughput at the low end of its interval."""
    law: str | None
    """Name of the law that predicts the time; None: the size was measured."""
    extrapolated: bool
    """Whether the size is larger than every measured one."""

    @property
    def node_seconds(self) -> float:
        return self.nodes * self.seconds

    @property
    def ranks(self) -> int:
        return self.nodes * self.tasks_per_node


def for_deadline(deadline_s: float, series: Sequence[Series], base: BaseSetup) -> ForDeadline:
    """Find the size that needs the fewest node-hours, over all series of one mode.

    Args:
        deadline_s: seconds from the start of one job, without the queue; positive.
        series: the series of the study; weak ones count only if no strong one was measured.
        base: the setup in the study's config: samples × epochs is the work, ranks × batch_size
            is what strong scaling divides between the ranks.
    """
    mode: Mode = "strong" if any(each.mode == "strong" for each in series) else "weak"
    asked = [each for each in series if each.mode == mode and each.sizes]
    if not asked:
        return _none(deadline_s, mode, "Nothing was measured, so no size has a known throughput.")
    work = base.samples * base.epochs
    measured = [_measured(size, work) for each in asked for size in each.sizes]
    in_time = [each for each in measured if each.seconds <= deadline_s]
    if not in_time:
        # The samples that the ranks share in one micro-batch, which strong scaling keeps.
        split = base.ranks * base.batch_size if mode == "strong" else None
        predicted = [
            candidate for each in asked for candidate in _predicted(each, work, base.samples, split)
        ]
        in_time = [each for each in predicted if each.seconds <= deadline_s]
        if not in_time:
            return _none(deadline_s, mode, _too_slow(deadline_s, [*measured, *predicted]))
    best = min(in_time, key=lambda each: (each.node_seconds, each.nodes))
    return ForDeadline(
        deadline_s=deadline_s,
        mode=mode,
        nodes=best.nodes,
        tasks_per_node=best.tasks_per_node,
        hours=best.seconds / _HOUR_S,
        node_hours=best.node_seconds / _HOUR_S,
        extrapolated=best.extrapolated,
        why=_why(best, deadline_s, work, mode),
    )


def _measured(size: Size, work: float) -> _Candidate:
    return _Candidate(
        size.nodes,
        size.tasks_per_node,
        _seconds(size, work, size.throughput.value),
        _seconds(size, work, size.throughput.low),
        law=None,
        extrapolated=False,
    )


def _predicted(series: Series, work: float, samples: int, split: int | None) -> list[_Candidate]:
    """Node counts that were not measured, as the chosen law predicts them.

    Start-up and checkpoints are taken from the next smaller measured size.

    Args:
        series: the measured sizes and their laws.
        work: samples over all epochs.
        samples: samples per epoch.
        split: samples that the ranks must be able to divide equally; None: any number will do.
    """
    law = next((each for each in series.laws if each.name == series.chosen), None)
    if law is None:
        return []
    tasks, sizes = series.tasks_per_node, series.sizes
    known = {size.nodes for size in sizes}
    found = []
    most_nodes = min(int(FARTHEST * sizes[-1].nodes), (split or samples) // tasks)
    for nodes in range(sizes[0].nodes + 1, most_nodes + 1):
        if nodes in known or (split and split % (nodes * tasks)):
            continue
        below = max((size for size in sizes if size.nodes < nodes), key=lambda size: size.nodes)
        found.append(_by_law(law, nodes, below, work, extrapolated=nodes > sizes[-1].nodes))
    return found


def _by_law(law: Law, nodes: int, below: Size, work: float, *, extrapolated: bool) -> _Candidate:
    throughput = throughput_by(law, nodes * below.tasks_per_node)
    seconds = _seconds(below, work, throughput)
    return _Candidate(nodes, below.tasks_per_node, seconds, seconds, law.name, extrapolated)


def _seconds(size: Size, work: float, throughput: float) -> float:
    """Seconds that the work takes with a throughput, and the start-up and checkpoints of a size."""
    start_up = sum(seconds for name, seconds in size.start_up_s.items() if name != "queue")
    wall = sum(size.parts_s.values())
    training = training_s(wall, size.parts_s)
    stretch = wall / training if training > 0 else 1.0
    return start_up + work / throughput * stretch


def _why(best: _Candidate, deadline_s: float, work: float, mode: Mode) -> str:
    how = "was measured"
    if best.law is not None:
        how = f"was not measured: {best.law} predicts it"
        how += ", beyond the largest measured size" if best.extrapolated else ""
    text = (
        f"{size_name(best)} would process {work:.4g} samples in {duration(best.seconds)} and use "
        f"{best.node_seconds / _HOUR_S:.3g} node-hours, the fewest of all sizes that need at most "
        f"{duration(deadline_s)}; this size {how}. Time in the queue is not included."
    )
    if best.at_worst_s > deadline_s:
        text += (
            f" It is close: with the throughput at the low end of its interval it would take "
            f"{duration(best.at_worst_s)}."
        )
    return text + _of_mode(mode)


def _too_slow(deadline_s: float, candidates: Sequence[_Candidate]) -> str:
    fastest = min(candidates, key=lambda each: each.seconds)
    how = "measured" if fastest.law is None else f"by {fastest.law}"
    return (
        f"No size finishes the work in {duration(deadline_s)}: the fastest, {size_name(fastest)} "
        f"({how}), takes {duration(fastest.seconds)}. Sizes beyond twice the largest measured one "
        "are not considered."
    )


def _none(deadline_s: float, mode: Mode, why: str) -> ForDeadline:
    return ForDeadline(deadline_s=deadline_s, mode=mode, why=why + _of_mode(mode))


def _of_mode(mode: Mode) -> str:
    if mode == "strong":
        return ""
    return (
        " Only weak scaling was measured. Its global batch grows with the size, so an epoch has "
        "fewer optimizer steps with larger batches, and the loss reached may differ."
    )
