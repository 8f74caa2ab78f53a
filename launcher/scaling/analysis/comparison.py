"""Comparison of two studies: the sizes that both have measured, before and after a change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from launcher.scaling.analysis.intervals import (
    CONFIDENCE,
    RESAMPLES,
    difference,
    mean_interval,
    ratio_interval,
    scaled,
)
from launcher.scaling.analysis.results import Collected, Estimate, Measurement
from launcher.scaling.analysis.sizes import (
    by_size,
    in_order,
    named,
    parts_of_step,
    size_name,
    step_s,
    throughputs,
    usable,
)
from launcher.scaling.study.definition import Mode
from launcher.timing.attribution import PARTS, STEP_PARTS

_NOTICEABLE = 0.01
"""Fraction of a step by which a part must change to be reported."""

_MUST_AGREE: Mapping[str, Callable[[Measurement], Sequence[str]]] = {
    "batch per rank": lambda run: [str(run.point.batch_size)],
    "global batch": lambda run: [str(run.point.global_batch)],
    "device": lambda run: [run.device],
    "nodes": lambda run: run.nodes,
    "threads": lambda run: [str(run.threads)],
    "cores": lambda run: [str(run.cores)],
}


@dataclass(frozen=True)
class ComparedSize:
    """A size that both studies have measured."""

    mode: Mode
    nodes: int
    tasks_per_node: int
    ranks: int
    before: Estimate
    """Samples/s of all ranks."""
    after: Estimate
    ratio: Estimate
    """after / before."""
    verdict: str
    """`faster`, `slower` or `no difference shown`, with the change."""
    parts: tuple[str, ...]
    """Parts of a step that changed by more than chance, in words; the largest change first."""
    not_comparable: tuple[str, ...]
    """What else differs between the runs of this size."""


@dataclass(frozen=True)
class Comparison:
    """Study B (after) compared with study A (before)."""

    sizes: tuple[ComparedSize, ...]
    not_comparable: tuple[str, ...]
    """What differs between the studies as a whole, in sentences."""
    only_before: tuple[str, ...]
    """Sizes of A that B has not measured."""
    only_after: tuple[str, ...]
    by_chance: str
    """How many verdicts chance alone would give; empty for a single size."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


_Key = tuple[Mode, int, int]


def compare_sizes(
    a: Collected, b: Collected, *, seed: int = 0, resamples: int = RESAMPLES
) -> Comparison:
    """Compare study A (before) with study B (after).

    A size is faster or slower if the 95 % interval of the ratio of its mean throughputs
    (intervals.py) does not include 1.
    """
    before, after = _repeats(a), _repeats(b)
    both = [key for key in before if key in after]
    sizes = tuple(_compared(key, before[key], after[key], seed, resamples) for key in both)
    return Comparison(
        sizes=sizes,
        not_comparable=_studies_differ(a, b),
        only_before=tuple(_name(key, before[key]) for key in before if key not in after),
        only_after=tuple(_name(key, after[key]) for key in after if key not in before),
        by_chance=_by_chance(len(both)),
    )


def _repeats(collected: Collected) -> dict[_Key, list[Measurement]]:
    measured = in_order(each for each in collected.measured if usable(each))
    return {
        (mode, tasks, nodes): repeats
        for mode in collected.study.modes
        for tasks, sizes in by_size(measured, mode).items()
        for nodes, repeats in sizes.items()
    }


def _name(key: _Key, repeats: Sequence[Measurement]) -> str:
    return f"{key[0]}, {size_name(repeats[0].point)}"


def _compared(
    key: _Key,
    before: Sequence[Measurement],
    after: Sequence[Measurement],
    seed: int,
    resamples: int,
) -> ComparedSize:
    mode, tasks, nodes = key
    old, new = throughputs(before), throughputs(after)
    ratio = ratio_interval(new, old, seed=seed, resamples=resamples)
    return ComparedSize(
        mode=mode,
        nodes=nodes,
        tasks_per_node=tasks,
        ranks=nodes * tasks,
        before=mean_interval(old, seed=seed, resamples=resamples),
        after=mean_interval(new, seed=seed, resamples=resamples),
        ratio=ratio,
        verdict=_verdict(ratio, fewest=min(len(old), len(new))),
        parts=_changed_parts(before, after),
        not_comparable=_runs_differ(before, after),
    )


def _verdict(ratio: Estimate, fewest: int) -> str:
    change = f"{ratio.value - 1:+.1%}"
    if fewest < 2:
        return f"no difference shown: with one repeat, {change} may be chance"
    interval = f"{ratio.low - 1:+.1%} to {ratio.high - 1:+.1%}"
    if ratio.low > 1:
        return f"faster: {change} ({interval})"
    if ratio.high < 1:
        return f"slower: {change} ({interval})"
    return f"no difference shown: {change} ({interval})"


def _changed_parts(before: Sequence[Measurement], after: Sequence[Measurement]) -> tuple[str, ...]:
    """Parts that changed by more than chance (Welch's t) and more than _NOTICEABLE of a step."""
    if min(len(before), len(after)) < 2:
        return ()
    least = _NOTICEABLE * float(np.mean([step_s(each) for each in before]))
    old, new = ([parts_of_step(each) for each in runs] for runs in (before, after))
    found = []
    for part in PARTS:
        values = [[each.get(part, 0.0) for each in runs] for runs in (old, new)]
        change = difference(values[1], values[0])
        if (change.low > 0 or change.high < 0) and abs(change.value) >= least:
            found.append((part, float(np.mean(values[0])), scaled(change, 1000)))
    found.sort(key=lambda each: -abs(each[2].value))
    return tuple(
        f"{STEP_PARTS[part].name}: {1000 * was:.3g} ms a step, now {change.value:+.3g} ms "
        f"({change.low:+.3g} to {change.high:+.3g})"
        for part, was, change in found
    )


def _studies_differ(a: Collected, b: Collected) -> tuple[str, ...]:
    found = []
    if a.study.config_sha256 != b.study.config_sha256:
        found.append("The studies have different configs, which may explain the changes.")
    old, new = a.study.measurement, b.study.measurement
    if old != new:
        words = [f"{m.until} {m.value:g} after {m.warm_up_steps} warm-up steps" for m in (old, new)]
        found.append(f"The studies measured differently: {words[0]} before, {words[1]} after.")
    return tuple(found)


def _runs_differ(before: Sequence[Measurement], after: Sequence[Measurement]) -> tuple[str, ...]:
    found = []
    for what, of_run in _MUST_AGREE.items():
        old, new = (
            sorted({text for run in runs for text in of_run(run)}) for runs in (before, after)
        )
        if old != new:
            found.append(
                f"{what}: {named(old) or 'unknown'} before, {named(new) or 'unknown'} after"
            )
    for when, runs in (("before", before), ("after", after)):
        if any(each.oversubscribed for each in runs):
            found.append(f"oversubscribed {when}: more threads than cores")
    return tuple(found)


def _by_chance(sizes: int) -> str:
    if sizes < 2:
        return ""
    expected = (1 - CONFIDENCE) * sizes
    return (
        f"{sizes} sizes are compared, each with {CONFIDENCE:.0%} confidence: even if nothing had "
        f"changed, {expected:.2g} of them would on average be called faster or slower."
    )
