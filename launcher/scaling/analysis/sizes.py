"""The sizes of a study: the repeats of each, taken together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Protocol

import numpy as np

from launcher.scaling.analysis.intervals import mean_interval, ratio_interval, scaled
from launcher.scaling.analysis.results import Estimate, Measurement, Size
from launcher.scaling.analysis.solution import plain_mean, time_to_solution
from launcher.scaling.study.definition import Mode
from launcher.text.counted import counted
from launcher.text.plain_text import plain

ONE = Estimate(1.0, 1.0, 1.0)
"""The ratio of a size to itself."""
_MOST = 1e15
_NAMED = 5


def in_order(measured: Iterable[Measurement]) -> list[Measurement]:
    """The runs in the order in which they ran, so that sums of floats are reproducible."""
    return sorted(measured, key=lambda each: (each.point.index, each.run_id))


def usable(measurement: Measurement) -> bool:
    """Whether a run has a throughput, and all its figures are finite and plausible."""
    attribution = measurement.attribution
    figures = (
        measurement.started_at,
        measurement.goodput,
        measurement.time_to_solution_s or 0.0,
        measurement.gpu_utilisation or 0.0,
        *attribution.parts_s.values(),
        *measurement.start_up_s.values(),
    )
    return (
        all(abs(figure) < _MOST for figure in figures)
        and attribution.steps > 0
        and 0 < attribution.training_s < _MOST
        and 1 / _MOST < attribution.samples_per_s < _MOST
    )


def step_s(measurement: Measurement) -> float:
    """Seconds of one optimizer step, without checkpoints and validation."""
    return measurement.attribution.training_s / measurement.attribution.steps


def parts_of_step(measurement: Measurement) -> dict[str, float]:
    """Part → seconds per optimizer step."""
    attribution = measurement.attribution
    return {part: seconds / attribution.steps for part, seconds in attribution.parts_s.items()}


def by_size(measured: Iterable[Measurement], mode: Mode) -> dict[int, dict[int, list[Measurement]]]:
    """Tasks per node → nodes → repeats, all in ascending order."""
    found: dict[int, dict[int, list[Measurement]]] = defaultdict(lambda: defaultdict(list))
    for each in measured:
        if mode in each.point.modes:
            found[each.point.tasks_per_node][each.point.nodes].append(each)
    return {tasks: dict(sorted(found[tasks].items())) for tasks in sorted(found)}


def throughputs(repeats: Iterable[Measurement]) -> list[float]:
    """Samples/s of each run."""
    return [each.attribution.samples_per_s for each in repeats]


def sizes_of(
    series: Mapping[int, Sequence[Measurement]], *, seed: int, resamples: int
) -> tuple[Size, ...]:
    """The sizes of one series (nodes → repeats), by ranks; the smallest one is the reference."""
    base: Sequence[Measurement] | None = None
    sizes = []
    for nodes in sorted(series):
        repeats = series[nodes]
        base = repeats if base is None else base
        sizes.append(_size(repeats, base, seed, resamples))
    return tuple(sizes)


def _size(
    repeats: Sequence[Measurement], base: Sequence[Measurement], seed: int, resamples: int
) -> Size:
    point = repeats[0].point
    here = throughputs(repeats)
    if repeats is base:
        speedup = efficiency = ONE
    else:
        speedup = ratio_interval(here, throughputs(base), seed=seed, resamples=resamples)
        efficiency = scaled(speedup, base[0].point.ranks / point.ranks)
    solved = [each.time_to_solution_s for each in repeats if each.time_to_solution_s is not None]
    return Size(
        nodes=point.nodes,
        tasks_per_node=point.tasks_per_node,
        ranks=point.ranks,
        repeats=len(repeats),
        throughput=mean_interval(here, seed=seed, resamples=resamples),
        step_s=mean_interval([step_s(each) for each in repeats], seed=seed, resamples=resamples),
        speedup=speedup,
        efficiency=efficiency,
        parts_s=_means([parts_of_step(each) for each in repeats]),
        start_up_s=_means([each.start_up_s for each in repeats]),
        time_to_solution_s=time_to_solution(solved),
        time_to_solution_runs=len(solved),
        goodput=float(np.mean([each.goodput for each in repeats])),
        host_peak_bytes=_most(each.host_peak_bytes for each in repeats),
        device_peak_bytes=_most(each.device_peak_bytes for each in repeats),
        gpu_utilisation=plain_mean(
            [each.gpu_utilisation for each in repeats if each.gpu_utilisation is not None]
        ),
        oversubscribed=any(each.oversubscribed for each in repeats),
        time_to_solution_mean_s=plain_mean(solved),
    )


def _means(records: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each entry over the records; a missing entry counts as zero."""
    names = dict.fromkeys(chain.from_iterable(records))
    return {name: float(np.mean([each.get(name, 0.0) for each in records])) for name in names}


def _most(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


class _Sized(Protocol):
    """Anything with nodes and ranks, such as a size or a point."""

    @property
    def nodes(self) -> int: ...

    @property
    def ranks(self) -> int: ...


def size_name(size: _Sized) -> str:
    """`4 ranks on 2 nodes`."""
    return f"{counted(size.ranks, 'rank')} on {counted(size.nodes, 'node')}"


def named(names: Sequence[str]) -> str:
    """Names for a sentence: the first few, and the number of the others."""
    shown = [plain(name)[:80] for name in names[:_NAMED]]
    more = len(names) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")
