"""What limits a series, in words."""

import pytest
from simulated_study import measurement, simulated, study

from launcher.scaling.analysis.analyse import analyse
from launcher.scaling.analysis.laws import AMDAHL


def said(runs, **options):
    (series,) = analyse(study(runs), resamples=100, **options).series
    return series.limits


def two_sizes(parts_of_second, throughput=380.0, mode="strong", **others):
    """1 node with a step of 640 ms; 4 nodes with these parts (ms per step)."""
    parts = {name: ms / 1000 for name, ms in parts_of_second.items()}
    batch = 64
    return [
        *(measurement(1, r, 100.0, batch=batch, mode=mode) for r in range(3)),
        *(
            measurement(4, r, throughput, batch=batch, mode=mode, parts_s=parts, **others)
            for r in range(3)
        ),
    ]


@pytest.mark.parametrize(
    ("part", "name", "advice"),
    [
        ("data", "Waiting for data", "execution.num_workers"),
        ("communication", "Exposed communication", "execution.accum_steps"),
        ("optimizer", "Optimizer", "larger global batch"),
        ("checkpoint", "Checkpoints", "checkpoint_every_n_steps"),
        ("validation", "Validation", "smaller validation set"),
        ("framework", "Framework overhead", "larger batch per rank"),
        ("straggler", "Waiting for slower ranks", "rank"),
    ],
)
def test_the_part_that_grows_is_named_with_what_to_try(part, name, advice):
    """SC-048: 20 ms of a step that were not there with one rank."""
    heading, *sentences = said(two_sizes({part: 20.0}))
    assert heading.startswith("A step of 4 ranks on 4 nodes")
    (sentence,) = [each for each in sentences if each.startswith(name)]
    assert "20 ms lost per step, from 0 ms (0 % of a step) with 1 rank to 20 ms" in sentence
    assert advice in sentence


def test_the_largest_loss_comes_first_and_small_ones_are_left_out():
    """SC-048"""
    _, *sentences = said(two_sizes({"data": 5.0, "communication": 40.0, "optimizer": 0.5}))
    names = [each.split(": ")[0] for each in sentences]
    assert names == ["Exposed communication", "Waiting for data"]


def test_what_does_not_shrink_is_lost_in_strong_mode_only():
    """SC-048: an optimizer step of 10 ms at both sizes is serial in strong mode, right in weak."""
    runs = {
        mode: [
            measurement(n, r, x, mode=mode, parts_s={"optimizer": 0.01})
            for n, x in ((1, 100.0), (4, 400.0))
            for r in range(3)
        ]
        for mode in ("strong", "weak")
    }
    assert any(each.startswith("Optimizer: 7.5 ms lost per step") for each in said(runs["strong"]))
    assert "No part loses" in said(runs["weak"])[0]


def test_computing_that_takes_longer_has_its_own_advice_in_each_mode():
    """SC-048"""
    strong = [measurement(n, r, x) for n, x in ((1, 100.0), (4, 200.0)) for r in range(3)]
    weak = [
        measurement(n, r, x, mode="weak") for n, x in ((1, 100.0), (4, 200.0)) for r in range(3)
    ]
    assert any("too small to keep a rank busy" in each for each in said(strong))
    assert any("ranks share cores" in each for each in said(weak))


def waits(slow):
    """Ranks of 4: the slow one waits least."""
    return {rank: {"straggler": 0.1 if rank == slow else 5.0} for rank in range(4)}


def test_the_slow_rank_is_named_if_it_is_always_the_same():
    """SC-048"""
    base = [measurement(1, r, 100.0) for r in range(3)]
    late = {"straggler": 0.05}
    same = [measurement(4, r, 300.0, parts_s=late, by_rank_s=waits(2)) for r in range(3)]
    others = [measurement(4, r, 300.0, parts_s=late, by_rank_s=waits(r)) for r in range(3)]
    assert any("Rank 2 is the slow one in all 3 repeats" in each for each in said(base + same))
    assert any("not always the same rank" in each for each in said(base + others))


def test_oversubscription_is_said_first():
    """SC-048"""
    collected = simulated(
        lambda p: AMDAHL.throughput(p, 100.0, (0.2,)), (1, 2, 4), cores=2, machines=1
    )
    first, *_ = analyse(collected, resamples=100).series[0].limits
    assert first.startswith("Oversubscription: 4 ranks on 4 nodes")
    assert "2 ranks" not in first


def test_one_size_has_nothing_to_compare():
    """SC-048"""
    assert "cannot be compared with another" in said([measurement(1, 0, 100.0)])[-1]
