"""Where more ranks stop being worth it."""

import pytest

from launcher.scaling.analysis.intervals import RESAMPLES
from launcher.scaling.analysis.knee import knee, marginal_efficiency
from launcher.scaling.analysis.results import Estimate


def found(values):
    return knee(values, seed=0, resamples=RESAMPLES)


def test_the_knee_is_before_the_first_doubling_that_brings_too_little():
    """SC-046"""
    sizes = {1: [100.0] * 3, 2: [190.0] * 3, 4: [300.0] * 3, 8: [390.0] * 3, 16: [700.0] * 3}
    bend = found(sizes)
    assert bend.ranks == 4
    assert "From 4 to 8 ranks, a doubling gains only 30 %" in bend.why
    assert "interval" not in bend.why


@pytest.mark.parametrize(
    ("few", "many", "gain", "expected"),
    [(1, 2, 1.5, 0.5), (1, 4, 2.25, 0.5), (2, 3, 1.5, 1.0), (4, 16, 16.0, 3.0), (1, 8, 1.0, 0.0)],
)
def test_steps_that_are_no_doublings_are_counted_in_doublings(few, many, gain, expected):
    """SC-046"""
    one = marginal_efficiency(Estimate(gain, gain, gain), few, many)
    assert one.value == pytest.approx(expected)


def test_no_knee_up_to_the_largest_size():
    """SC-046: and none is invented."""
    bend = found({1: [100.0] * 3, 2: [190.0] * 3, 4: [360.0] * 3})
    assert bend.ranks is None
    assert "no knee up to 4 ranks" in bend.why


def test_a_knee_that_the_repeats_do_not_settle_says_so():
    """SC-046"""
    noisy = {1: [95.0, 100.0, 105.0], 2: [140.0, 148.0, 156.0]}
    bend = found(noisy)
    assert bend.ranks == 1
    assert "more repeats would decide" in bend.why
    bend = found({1: [95.0, 100.0, 105.0], 2: [144.0, 152.0, 160.0]})
    assert bend.ranks is None
    assert "more repeats would decide" in bend.why


def test_throughput_that_falls():
    """SC-046"""
    bend = found({1: [100.0] * 3, 2: [80.0] * 3})
    assert bend.ranks == 1
    assert "throughput falls" in bend.why


def test_one_size_has_no_knee():
    """SC-046"""
    assert found({4: [1.0]}).ranks is None
