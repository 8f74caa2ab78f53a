"""Samples per second of each rank over time, and which rank the others wait for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
"""Of one attempt, about equally long: single steps are too uneven to show a course."""
MOST_LINES = 8
"""Ranks that have a line each; more are a median with a band."""
_WAITS_FOR_OTHERS = "reduction"


@dataclass(frozen=True)
class RankRate:
    """A rank in the latest attempt that has measured."""

    rank: int
    node: str
    samples_per_s: float
    own_s: float
    """Seconds a step in which it does not wait for the other ranks."""


@dataclass(frozen=True)
class AttemptRates:
    """One attempt, in slices of some steps."""

    attempt: int
    began_s: float
    """When it started, in seconds of attempts: waits between them are left out."""
    at_s: tuple[float, ...]
    """End of each slice, on the same clock."""
    by_rank: Mapping[int, tuple[float | None, ...]]
    """Samples/s in each slice; of more than MOST_LINES ranks empty."""
    middle: tuple[float | None, ...]
    """Median over the ranks."""
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    """Lowest and highest over the ranks."""


@dataclass(frozen=True)
class Throughput:
    """What is known of it."""

    measured: bool
    """Step by step by each rank; else by the epoch, of all ranks together."""
    attempts: tuple[AttemptRates, ...]
    ranks: tuple[RankRate, ...]
    slowest: RankRate | None
    """The one with the most work of its own, where there are several ranks."""
    others_own_s: float | None
    """Median of the other ranks."""
    last_words: Mapping[int, float]
    """Rank → patterns/s of its last heartbeat, where nothing better is known."""


def throughput_of(
    attempts: Sequence[AttemptSpan],
    times: Mapping[int, Mapping[int, RankTimes]],
    epochs: Sequence[EpochRow],
    heartbeats: Mapping[int, Heartbeat],
) -> Throughput | None:
    """Rates of a run, over the time of its attempts; None: it has none."""
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
            True, tuple(rates), ranks, slowest, median(others) if others else None, {}
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
    return Throughput(False, tuple(by_epoch), (), None, None, words)


def _clock(attempts: Sequence[AttemptSpan]) -> dict[int, float]:
    """Attempt → when it began, where the clock runs during attempts only."""
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
    longest = max(blocks.values(), key=len)
    edges = _edges(longest)
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
    """The first step of each slice."""
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
    """Without checkpoints and validation."""
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
