"""Ranges that a rank used: few numbers, nothing lost, nothing believed (RD-054, RD-004)."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho_dist.data.order import micro_batches, rank_share
from ptycho_dist.rundir.consumed import ConsumedRanges, expand


def without_seams(ranges):
    joined = []
    for start, stop in ranges:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined


@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 4)).map(lambda pair: (pair[0], sum(pair))),
        max_size=30,
    )
)
def test_any_ranges_come_back_in_their_order(ranges):
    consumed = ConsumedRanges()
    for start, stop in ranges:
        consumed.add(start, stop)
    found = list(expand(consumed.to_json()))
    assert without_seams(found) == without_seams([r for r in ranges if r[1] > r[0]])


@given(n=st.integers(1, 3000), batch=st.integers(1, 9), ranks=st.integers(1, 7))
def test_an_epoch_of_equal_shares_is_two_entries_at_most(n, batch, ranks):
    """RD-054"""
    shares = {rank: ConsumedRanges() for rank in range(ranks)}
    for first, end in micro_batches(n, batch_size=batch, ranks=ranks):
        for rank, consumed in shares.items():
            start, stop = rank_share(end - first, rank=rank, ranks=ranks)
            consumed.add(first + start, first + stop)
    assert all(len(consumed.to_json()) <= 2 for consumed in shares.values())
    together = itertools.chain.from_iterable(expand(c.to_json()) for c in shares.values())
    assert without_seams(sorted(together)) == [(0, n)]


def test_the_form_in_the_ledger_is_a_contract():
    consumed = ConsumedRanges()
    for start in (8, 24, 40):
        consumed.add(start, start + 8)
    consumed.add(50, 53)
    consumed.add(53, 53)
    assert consumed.to_json() == [[8, 8, 16, 3], [50, 3, 3, 1]]
    assert list(expand([[8, 8, 16, 3]])) == [(8, 16), (24, 32), (40, 48)]


@pytest.mark.parametrize(
    "damaged",
    [
        None, {}, "0-7", 7, [7], [[0, 8]], [[0, 8, 8, 1, 1]], [["0", 8, 8, 1]], [[0.0, 8, 8, 1]],
        [[True, 8, 8, 1]], [[-1, 8, 8, 1]], [[8, -8, 8, 1]], [[0, 0, 8, 1]], [[0, 8, 7, 2]],
        [[0, 8, 8, 0]], [[0, 8, 8, 10**18]], [[10**400, 8, 8, 1]], [[0, 8, 8, 1], None],
    ],
)  # fmt: skip
def test_what_no_rank_writes_is_refused_before_anything_is_read(damaged):
    """RD-004"""
    with pytest.raises(ValueError, match="range") as refused:
        expand(damaged)
    assert len(str(refused.value)) < 200
