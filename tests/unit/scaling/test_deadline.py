"""The cheapest size for a deadline."""

import dataclasses
from functools import partial

import numpy as np
import pytest
from simulated_study import BASE, measurement, simulated, study

from launcher.scaling.analysis.analyse import analyse
from launcher.scaling.analysis.laws import AMDAHL, GUSTAFSON, USL
from launcher.scaling.analysis.results import ForDeadline

WORK = 36_000
START_UP = 10.0


def asked(collected, deadline_s) -> ForDeadline:
    return analyse(collected, deadline_s=deadline_s, resamples=100).deadline


def strong(nodes=(1, 2, 4), serial=0.05, **others):
    return simulated(
        lambda p: AMDAHL.throughput(p, 100.0, (serial,)), nodes, noise=0.0, repeats=3, **others
    )


def test_nobody_asks():
    """SC-047"""
    assert asked(strong(), None) is None


def test_the_fewest_node_hours_in_time():
    """SC-047: one node is cheapest, two are the cheapest in time; the queue is left out."""
    one = START_UP + WORK / 100.0
    two = START_UP + WORK / (100.0 / (0.05 + 0.95 / 2))
    found = asked(strong(), one + 1)
    assert (found.nodes, found.extrapolated) == (1, False)
    assert found.hours == pytest.approx(one / 3600)
    found = asked(strong(), one - 1)
    assert found.nodes == 2
    assert found.hours == pytest.approx(two / 3600)
    assert found.node_hours == pytest.approx(2 * two / 3600)
    assert "was measured" in found.why


def test_checkpoints_and_validation_stretch_the_time():
    """SC-047: half of a step's training time, once more."""
    runs = [
        measurement(1, r, 100.0, parts_s={"checkpoint": 0.22, "validation": 0.1}) for r in range(3)
    ]
    found = asked(study(runs), 1e6)
    assert found.hours == pytest.approx((START_UP + 1.5 * WORK / 100.0) / 3600)


def test_beyond_the_largest_size_the_law_is_asked_and_that_is_marked():
    """SC-047, SC-045: 8 nodes of Amdahl's law; 5, 6 and 7 cannot share a batch of 64."""
    eight = START_UP + WORK / (100.0 / (0.05 + 0.95 / 8))
    found = asked(strong(), eight + 1)
    assert found.nodes == 8
    assert found.extrapolated
    assert found.hours == pytest.approx(eight / 3600, rel=1e-4)
    assert "Amdahl predicts it, beyond the largest measured size" in found.why


def test_between_measured_sizes_is_predicted_but_not_extrapolated():
    """SC-047: throughput has its peak at 11 nodes; of those not measured, 12 share the batch."""
    usl = partial(USL.throughput, x1=100.0, parameters=(0.05, 0.95 / 121))
    measured = simulated(usl, (1, 2, 4, 8, 16), noise=0.0, batch=768).measured
    eight, twelve = usl(np.array([8.0, 12.0]))
    collected = study(list(measured), base=dataclasses.replace(BASE, batch_size=768))
    found = asked(collected, START_UP + WORK / (0.5 * eight + 0.5 * twelve))
    assert found.nodes == 12
    assert not found.extrapolated
    assert "was not measured: USL predicts it." in found.why


def test_nothing_beyond_twice_the_largest_size():
    """SC-045, SC-047: more nodes might do it; that is not said."""
    found = asked(strong(), START_UP + WORK / (100.0 / (0.05 + 0.95 / 12)))
    assert found.nodes is None
    assert found.node_hours is None
    assert "No size finishes the work in" in found.why
    assert "8 ranks on 8 nodes (by Amdahl)" in found.why


def test_without_a_law_only_measured_sizes_are_asked():
    """SC-047"""
    found = asked(strong((1, 2)), START_UP + WORK / 199.0)
    assert found.nodes is None
    assert "2 ranks on 2 nodes (measured)" in found.why


def test_a_deadline_that_is_close_says_so():
    """SC-047"""
    runs = [measurement(1, r, x) for r, x in enumerate((95.0, 100.0, 105.0))]
    found = asked(study(runs), START_UP + WORK / 99.0)
    assert found.nodes == 1
    assert "It is close" in found.why


def test_weak_series_are_asked_only_without_strong_ones():
    """SC-047"""
    weak = simulated(
        lambda p: GUSTAFSON.throughput(p, 100.0, (0.0,)), (1, 2, 4), mode="weak", noise=0.0
    )
    found = asked(weak, 1e6)
    assert found.mode == "weak"
    assert "global batch grows" in found.why
    both = study([*weak.measured, *strong(serial=0.5).measured])
    found = asked(both, 1e6)
    assert found.mode == "strong"
    assert "global batch grows" not in found.why


def test_several_tasks_per_node_compete():
    """SC-047: two ranks on one node cost one node."""
    collected = study([*strong().measured, *strong((1, 2), tasks_per_node=2).measured])
    found = asked(collected, START_UP + WORK / 185.0)
    assert (found.nodes, found.tasks_per_node) == (1, 2)
