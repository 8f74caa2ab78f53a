"""Throughput of each rank over time, and which rank the others wait for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

from launcher.run_report.attempts import AttemptSpan
from launcher.run_report.losses import EpochRow
from launcher.timing.attribution import training_s
from ptycho_dist.rundir.checked_json import number
from ptycho_dist.rundir.heartbeat import Heartbeat
from ptycho_dist.rundir.step_times import Block, RankTimes

MOST_BINS = 60
"""Largest number of slices of an attempt, of about equal length; single steps are too noisy."""
MOST_LINES = 8
"""Largest number of ranks with a line each; more are shown as median and range."""
_WAITS_FOR_OTHERS = "reduction"


@dataclass(frozen=True)
class RankRate:
    """The throughput of one rank in the latest attempt with step times."""

    rank: int
    node: str
    samples_per_s: float
    own_s: float
    """Seconds per step in which the rank does not wait for the others."""


@dataclass(frozen=True)
class AttemptRates:
    """The throughput of one attempt, in slices of several steps."""

    attempt: int
    began_s: float
    """Its start on a clock that runs during attempts only, in seconds."""
    at_s: tuple[float, ...]
    """End of each slice on the same clock, in seconds."""
    by_rank: Mapping[int, tuple[float | None, ...]]
    """Rank → samples/s in each slice; empty for more than MOST_LINES ranks."""
    middle: tuple[float | None, ...]
    """Median over the ranks."""
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    """Lowest and highest over the ranks."""


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """The throughput of a run, as far as it is known."""

    measured: bool
    """Whether it comes from the step times of each rank; else from whole epochs of all ranks."""
    attempts: tuple[AttemptRates, ...]
    ranks: tuple[RankRate, ...] = ()
    slowest: RankRate | None = None
    """The rank that needs most time for its own work; None: there is one rank, or none is known."""
    others_own_s: float | None = None
    """Median over the other ranks of their seconds per step."""
    last_words: Mapping[int, float] = field(default_factory=dict)
    """Rank → patterns/s of its last heartbeat, where no better figure is known."""


def throughput_of(
    attempts: Sequence[AttemptSpan],
    times: Mapping[int, Mapping[int, RankTimes]],
    epochs: Sequence[EpochRow],
    heartbeats: Mapping[int, Heartbeat],
) -> Throughput | None:
    """The throughput of a run over the time of its attempts; None: none is known."""
    began = _clock(attempts)
    rates = [
        found
        for span in attempts
        if span.started_at is not None
        and (found := _of_attempt(span, began[span.attempt], times.get(span.attempt) or {}))
    ]
    if rates:
        ranks = _ranks(times[rates[-1].attempt])
        slowest = max(ranks, key=lambda rank: rank.own_s) if len(ranks) > 1 else None
        others = [rank.own_s for rank in ranks if slowest and rank.rank != slowest.rank]
        return Throughput(
            measured=True,
            attempts=tuple(rates),
            ranks=ranks,
            slowest=slowest,
            others_own_s=median(others) if others else None,
        )
    by_epoch = [
        found for span in attempts if (found := _by_epoch(span, began.get(span.attempt), epochs))
    ]
    words = {
        beat.rank: rate
        for beat in heartbeats.values()
        if (rate := number(beat.progress, "patterns_per_s")) is not None and rate > 0
    }
    if not by_epoch and not words:
        return None
    return Throughput(measured=False, attempts=tuple(by_epoch), last_words=words)


def _clock(attempts: Sequence[AttemptSpan]) -> dict[int, float]:
    """Attempt → its start on a clock that runs during attempts only, in seconds."""
    began, clock = {}, 0.0
    for span in attempts:
        began[span.attempt] = clock
        clock += span.seconds or 0.0
    return began


def _of_attempt(
    span: AttemptSpan, began_s: float, times: Mapping[int, RankTimes]
) -> AttemptRates | None:
    import numpy as np

    blocks = {rank: _sound(each.blocks) for rank, each in sorted(times.items())}
    blocks = {rank: each for rank, each in blocks.items() if each}
    if not blocks or span.started_at is None:
        return None
    # Blocks begin at the same steps on all ranks, so the rank that wrote most gives the slices.
    longest = max(blocks.values(), key=len)
    edges = _edges(longest)
    # Names of arrays end in their axes: R for ranks, B for slices.
    samples_RB = np.zeros((len(blocks), len(edges)))
    seconds_RB, ended_B = np.zeros_like(samples_RB), np.zeros(len(edges))
    for row, own in enumerate(blocks.values()):
        place = np.searchsorted(edges, [block.first_step for block in own], side="right") - 1
        place = np.clip(place, 0, None)
        np.add.at(samples_RB[row], place, [float(block.samples) for block in own])
        np.add.at(seconds_RB[row], place, [_step_s(block) for block in own])
        np.maximum.at(ended_B, place, [block.ended_at for block in own])
    with np.errstate(divide="ignore", invalid="ignore"):
        rate_RB = np.where(seconds_RB > 0, samples_RB / seconds_RB, np.nan)
    seen_B = np.isfinite(rate_RB).any(axis=0)
    if not seen_B.any():
        return None
    rate_RB, ended_B = rate_RB[:, seen_B], ended_B[seen_B]
    few = len(blocks) <= MOST_LINES
    return AttemptRates(
        attempt=span.attempt,
        began_s=began_s,
        at_s=tuple(float(at) for at in ended_B - span.started_at + began_s),
        by_rank={r: _plain(rate_RB[row]) for row, r in enumerate(blocks)} if few else {},
        middle=_plain(np.nanmedian(rate_RB, axis=0)),
        low=_plain(np.nanmin(rate_RB, axis=0)),
        high=_plain(np.nanmax(rate_RB, axis=0)),
    )


def _edges(blocks: Sequence[Block]) -> list[int]:
    """The first step of each slice of an attempt."""
    slice_s = sum(map(_step_s, blocks)) / MOST_BINS
    edges, spent = [blocks[0].first_step], 0.0
    for block, following in pairwise(blocks):
        spent += _step_s(block)
        if spent >= slice_s:
            edges.append(following.first_step)
            spent = 0.0
    return edges


def _sound(blocks: Sequence[Block]) -> list[Block]:
    return [b for b in blocks if b.steps > 0 and math.isfinite(b.wall_s) and _step_s(b) > 0]


def _step_s(block: Block) -> float:
    """Seconds of a block without checkpoints and validation."""
    return training_s(block.wall_s, block.parts_s)


def _plain(values: Any) -> tuple[float | None, ...]:
    return tuple(float(f"{v:.6g}") if math.isfinite(v) else None for v in map(float, values))


def _ranks(times: Mapping[int, RankTimes]) -> tuple[RankRate, ...]:
    found = []
    for rank, each in sorted(times.items()):
        blocks = _sound(each.blocks)
        seconds, steps = sum(map(_step_s, blocks)), sum(block.steps for block in blocks)
        if not blocks:
            continue
        waiting = sum(block.parts_s.get(_WAITS_FOR_OTHERS, 0.0) for block in blocks)
        samples = sum(block.samples for block in blocks)
        own_s = max(0.0, seconds - waiting) / steps
        found.append(RankRate(rank, each.node, samples / seconds, own_s))
    return tuple(found)


def _by_epoch(
    span: AttemptSpan, began_s: float | None, epochs: Sequence[EpochRow]
) -> AttemptRates | None:
    known = [
        (epoch.at - span.started_at + began_s, epoch.patterns_per_s)
        for epoch in epochs
        if epoch.attempt == span.attempt
        and epoch.at is not None
        and epoch.patterns_per_s is not None
        and span.started_at is not None
        and began_s is not None
    ]
    if not known or began_s is None:
        return None
    every = math.ceil(len(known) / MOST_BINS)
    at_s, rates = zip(*known[::every], strict=True)
    return AttemptRates(span.attempt, began_s, at_s, {}, rates, rates, rates)
