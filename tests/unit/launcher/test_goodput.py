"""Goodput and start-up (specs/scaling_study.md, SC-017, SC-018, SC-085)."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.timing.goodput import (
    AttemptTimes,
    credible_lineage,
    goodput,
    last_sign_of_life,
    lineage_by_steps,
)
from launcher.timing.start_up import STAGE_NAMES, STAGES, start_up_s
from ptycho_dist.proof.lineage import LineagePart
from ptycho_dist.rundir.step_times import PHASES, START_UP, Block, RankTimes

T0 = 1_700_000_000.0


def block(step, seconds=1.0, steps=1, **parts):
    rest = seconds - sum(parts.values())
    own = {**dict.fromkeys(PHASES, 0.0), "forward_backward": rest, **parts}
    return Block(step, steps, 8 * steps, T0 + step, seconds, own)


def attempt(number, seconds, *ranks, started_at=T0):
    times = [RankTimes(rank, blocks=tuple(blocks)) for rank, blocks in enumerate(ranks)]
    return AttemptTimes(number, started_at, started_at + seconds, times)


def test_the_steps_of_the_lineage_alone_count():
    """SC-018, SC-085: of a block that reaches over the checkpoint, the part before it; no
    checkpoint, no validation."""
    blocks = (
        block(0, 10.0, steps=10),
        block(10, 32.0, steps=10, reduction=8.0, checkpoint=5.0, validation=7.0),
        block(20, 99.0, steps=10),
    )
    found = goodput([attempt(1, 140.0, blocks)], [LineagePart(1, 0, 15)])
    assert found.measured
    assert found.useful_s == pytest.approx(10.0 + 20.0 / 2)
    assert found.attempts_s == 140.0
    assert found.of_attempts == pytest.approx(20.0 / 140.0)


def test_waits_between_attempts_count_in_the_elapsed_time_alone():
    """SC-085"""
    attempts = [
        attempt(1, 10.0, [block(step) for step in range(5)]),
        attempt(2, 10.0, [block(step) for step in range(5, 10)], started_at=T0 + 30),
    ]
    found = goodput(attempts, [LineagePart(1, 0, 5), LineagePart(2, 5, 10)])
    assert (found.attempts_s, found.elapsed_s) == (20.0, 40.0)
    assert (found.of_attempts, found.of_elapsed) == (0.5, 0.25)


def test_steps_that_a_kill_left_unwritten_count_with_the_mean():
    """SC-085: of two ranks the one that has written more is believed; ranks that have written as
    much count with their mean."""
    short = [block(number, 9.0) for number in range(2)]
    long = [block(number, 2.0) for number in range(8)]
    found = goodput([attempt(1, 100.0, short, long)], [LineagePart(1, 0, 10)])
    assert (found.useful_s, found.unwritten_steps, found.measured) == (20.0, 2, True)
    longer = [block(number, 4.0) for number in range(8)]
    found = goodput([attempt(1, 100.0, longer, long)], [LineagePart(1, 0, 10)])
    assert found.useful_s == pytest.approx(30.0)


def test_an_attempt_without_step_times_counts_with_the_mean_of_the_run():
    """SC-085"""
    attempts = [attempt(1, 100.0), attempt(2, 100.0, [block(step, 3.0) for step in range(4, 8)])]
    found = goodput(attempts, [LineagePart(1, 0, 4), LineagePart(2, 4, 8)])
    assert (found.useful_s, found.unwritten_steps, found.measured) == (24.0, 4, True)


def test_without_any_step_time_commits_tell():
    """SC-085"""
    events = (
        {"event": "training_started", "attempt": 1, "time": 110.0, "step": 0},
        {"event": "checkpoint_committed", "attempt": 1, "time": 130.0, "step": 5, "seconds": 2},
        {"event": "checkpoint_committed", "attempt": 1, "time": 150.0, "step": 9, "seconds": 3},
        {"event": "checkpoint_committed", "attempt": 1, "time": 190.0, "step": 12},
    )
    attempts = [attempt(1, 100.0, started_at=100.0), attempt(2, 100.0, started_at=300.0)]
    found = goodput(attempts, [LineagePart(1, 0, 9)], events)
    assert not found.measured
    assert found.useful_s == 150.0 - 110.0 - 5.0
    assert (found.attempts_s, found.elapsed_s) == (200.0, 300.0)
    assert goodput(attempts, None, events) is None
    assert goodput([AttemptTimes(1, None, None)], [LineagePart(1, 0, 9)], events) is None
    assert goodput([attempt(1, 0.0)], [LineagePart(1, 0, 9)], events) is None


def test_step_times_tell_the_lineage_of_a_finished_run():
    """SC-018: steps after the one from which a later attempt went on are not in the weights."""
    first = attempt(1, 20.0, [block(step, 2.0, checkpoint=0.5) for step in range(5)])
    second = attempt(2, 20.0, [block(3, 4.0, steps=10, validation=1.0)])
    third = attempt(3, 20.0, [block(8, 2.0)])
    attempts = [first, second, third]
    lineage = lineage_by_steps(attempts)
    assert lineage == (LineagePart(1, 0, 3), LineagePart(2, 3, 8), LineagePart(3, 8, 9))
    kept = 3 * 1.5 + 3.0 * (5 / 10) + 2.0
    assert goodput(attempts, lineage).of_attempts == pytest.approx(kept / 60)
    assert credible_lineage(None, attempts, finished=True) == lineage
    assert credible_lineage(None, attempts, finished=False) is None
    told = (LineagePart(1, 0, 5), LineagePart(2, 5, 9))
    assert credible_lineage(told, attempts, finished=True) == told
    broken = (LineagePart(3, 0, 9),)  # the ledger files of the attempts before are gone
    assert credible_lineage(broken, attempts, finished=True) == lineage
    assert credible_lineage(broken, attempts, finished=False) == broken
    silent = replace(third, ranks=())
    assert lineage_by_steps([first, silent]) == (LineagePart(1, 0, 5),)
    again = replace(first, attempt=2)  # it began anew
    assert lineage_by_steps([first, again]) == (LineagePart(2, 0, 5),)


@given(st.lists(st.tuples(st.floats(0, 1e4), st.lists(st.tuples(st.integers(0, 99),
       st.floats(0, 1e4), st.integers(1, 9)), max_size=4)), max_size=4))  # fmt: skip
def test_goodput_is_a_part(tried):
    """SC-018"""
    attempts = [
        attempt(number, seconds, [block(*each) for each in blocks])
        for number, (seconds, blocks) in enumerate(tried, 1)
    ]
    found = goodput(attempts, lineage_by_steps(attempts))
    if found is not None:
        assert found.of_elapsed >= 0
        assert 0 <= found.of_attempts <= 1
        assert math.isfinite(found.useful_s)


def test_an_attempt_without_a_recorded_end_ended_with_its_last_sign_of_life():
    """SC-085"""
    rank = RankTimes(0, blocks=(block(3), block(7)))
    assert last_sign_of_life(T0, [rank], []) == T0 + 7
    assert last_sign_of_life(T0, [rank], [{"time": T0 + 9}]) == T0 + 9
    assert last_sign_of_life(T0, [], []) == T0
    assert last_sign_of_life(None, [], []) is None


def test_start_up_is_that_of_the_slowest_rank():
    """SC-017"""
    ranks = [
        RankTimes(0, started_at=T0 + 2, start_up_s={"imports": 5.0, "opening": 1.0}),
        RankTimes(1, started_at=T0 + 1, start_up_s={"imports": 3.0, "opening": 4.0}),
        RankTimes(2),
    ]
    assert start_up_s(T0, ranks) == {"launch": 1.0, "imports": 5.0, "opening": 4.0}
    assert start_up_s(T0 + 9, ranks)["launch"] == 0.0
    assert start_up_s(None, ranks) == {"imports": 5.0, "opening": 4.0}
    assert start_up_s(T0, []) == {}
    assert set(start_up_s(T0, ranks)) <= {"launch", *START_UP}
    assert tuple(STAGE_NAMES) == STAGES
