"""The steps of all ranks, taken apart: communication and stragglers, from times made up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.timing.attribution import PARTS, attribute
from ptycho_dist.rundir.step_times import PHASES, Block, RankTimes


def block(first, steps=1, samples=4, **seconds):
    parts = {phase: float(seconds.get(phase, 0.0)) for phase in PHASES}
    return Block(first, steps, samples, 1e9, sum(parts.values()), parts)


def ranks(*blocks_of_ranks):
    return {n: RankTimes(n, blocks=tuple(blocks)) for n, blocks in enumerate(blocks_of_ranks)}


def test_who_waits_for_whom():
    """SC-029, SC-030: rank 1 is late by 3 s, then rank 0 by 1 s; a transfer takes 0.5 s."""
    found = attribute(
        ranks(
            [block(0, data=9), block(1, forward_backward=2, reduction=3.5, samples=5),
             block(2, data=1, forward_backward=2, reduction=0.5, optimizer=1)],
            [block(0, data=9), block(1, forward_backward=5, reduction=0.5),
             block(2, forward_backward=2, reduction=1.5, optimizer=1)],
        ),
        skip_steps=1,
    )  # fmt: skip
    assert (found.ranks, found.steps, found.samples, found.wall_s) == (2, 2, 17, 10.0)
    by_rank = {
        rank: {part: seconds for part, seconds in parts.items() if seconds}
        for rank, parts in found.by_rank_s.items()
    }
    assert by_rank == {
        0: {"data": 1, "forward_backward": 4, "communication": 1, "straggler": 3, "optimizer": 1},
        1: {"forward_backward": 7, "communication": 1, "straggler": 1, "optimizer": 1},
    }
    assert found.parts_s["straggler"] == 2.0


def test_only_blocks_that_all_ranks_have_after_the_first_steps_count():
    """SC-029: the attempt went on at step 40; one rank was killed before it wrote the rest."""
    times = ranks(
        [block(40), block(41), block(42), block(43, steps=10)],
        [block(40), block(41), block(42)],
    )
    assert attribute(times, skip_steps=0).steps == 3
    assert attribute(times, skip_steps=2).steps == 1
    assert attribute(times, skip_steps=3) is None
    assert attribute(times, skip_steps=0, ranks=3) is None
    assert attribute({1: times[1]}, skip_steps=0) is None
    assert attribute({}, skip_steps=0) is None
    assert attribute(ranks([], []), skip_steps=0) is None


def test_in_a_block_of_many_steps_alternating_stragglers_are_under_estimated():
    """SC-030: two ranks that are late by turns look like a slow transfer."""
    alternating = ranks([block(0, 10, reduction=5)], [block(0, 10, reduction=5)])
    assert attribute(alternating, skip_steps=0).parts_s["straggler"] == 0
    always = ranks([block(0, 10, reduction=10)], [block(0, 10, reduction=0)])
    assert attribute(always, skip_steps=0).by_rank_s[0]["straggler"] == 10


seconds = st.floats(0, 1e3)


@given(st.lists(st.lists(st.fixed_dictionaries(dict.fromkeys(PHASES, seconds)), min_size=3,
                         max_size=3), min_size=1, max_size=4))  # fmt: skip
def test_the_parts_are_the_wall_time(times_of_ranks):
    """SC-029"""
    times = ranks(
        *([block(step, **parts) for step, parts in enumerate(steps)] for steps in times_of_ranks)
    )
    found = attribute(times, skip_steps=0)
    assert sum(found.parts_s.values()) == pytest.approx(found.wall_s)
    assert tuple(found.parts_s) == PARTS
    assert min(min(parts.values()) for parts in found.by_rank_s.values()) >= 0
