"""Each sample once per epoch, at every world size (guarantee G4, specs/run_directory.md RD-050)."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ptycho_dist.data.loader import Position, RankBatchSampler
from ptycho_dist.data.order import epoch_order, micro_batches, rank_share


@given(n=st.integers(1, 300), seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 50))
def test_an_order_is_a_permutation_and_depends_on_seed_and_epoch_alone(n, seed, epoch):
    order = epoch_order(n, seed=seed, epoch=epoch, sequential=False)
    assert sorted(order) == list(range(n))
    assert np.array_equal(order, epoch_order(n, seed=seed, epoch=epoch, sequential=False))


def test_epochs_and_seeds_differ_and_sequential_is_the_scan_order():
    orders = [epoch_order(100, seed=s, epoch=e, sequential=False) for s in (0, 1) for e in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert list(epoch_order(5, seed=3, epoch=9, sequential=True)) == [0, 1, 2, 3, 4]


def test_the_order_is_a_contract_across_versions():
    assert epoch_order(8, seed=0, epoch=0, sequential=False).tolist() == [2, 4, 3, 6, 5, 0, 1, 7]


@given(count=st.integers(0, 200), ranks=st.integers(1, 40))
def test_shares_tile_the_samples_and_differ_by_one_at_most(count, ranks):
    shares = [rank_share(count, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert shares[0][0] == 0
    assert shares[-1][1] == count
    assert all(a[1] == b[0] for a, b in itertools.pairwise(shares))
    lengths = [stop - start for start, stop in shares]
    assert max(lengths) - min(lengths) <= 1


@given(
    n=st.integers(1, 200),
    batch=st.integers(1, 9),
    ranks=st.integers(1, 7),
    first=st.integers(0, 30),
    seed=st.integers(0, 9),
)
def test_ranks_together_use_each_sample_once_from_any_position(n, batch, ranks, first, seed):
    samplers = [
        RankBatchSampler(n, batch_size=batch, rank=rank, ranks=ranks, seed=seed, sequential=False)
        for rank in range(ranks)
    ]
    first = min(first, len(samplers[0]) - 1)
    for sampler in samplers:
        sampler.start = Position(epoch=2, micro_batch=first, sample=first * batch * ranks)
    batches = [list(sampler) for sampler in samplers]
    assert len({len(own) for own in batches}) == 1  # ranks run the same number of batches
    assert len(batches[0]) == len(samplers[0]) - first
    together = [index for step in zip(*batches, strict=True) for own in step for index in own]
    expected = epoch_order(n, seed=seed, epoch=2, sequential=False)[first * batch * ranks :]
    assert together == expected.tolist()
    assert all(len(own) <= batch for step in batches for own in step)


@given(n=st.integers(1, 200), width=st.integers(1, 20))
def test_the_set_of_samples_in_a_step_does_not_depend_on_how_ranks_share_it(n, width):
    narrow = list(micro_batches(n, batch_size=width, ranks=1))
    assert narrow == list(micro_batches(n, batch_size=1, ranks=width))


def test_set_epoch_keeps_the_resumed_position_of_its_own_epoch():
    sampler = RankBatchSampler(40, batch_size=4, rank=0, ranks=2, seed=0, sequential=True)
    sampler.start = Position(epoch=3, micro_batch=2, sample=16)
    sampler.set_epoch(3)
    assert next(iter(sampler)) == [16, 17, 18, 19]
    sampler.set_epoch(4)
    assert next(iter(sampler)) == [0, 1, 2, 3]
    assert len(sampler) == 5
