"""What follows from a whole study."""

import dataclasses
import json
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_study import measurement, simulated, study

from launcher.scaling.analysis.analyse import analyse
from launcher.scaling.analysis.laws import AMDAHL, GUSTAFSON, USL
from launcher.scaling.analysis.results import Collected
from launcher.timing.attribution import Attribution


def amdahl(serial, x1=500.0):
    return lambda ranks: AMDAHL.throughput(ranks, x1, (serial,))


def scaled(collected, factor):
    """The same study on a machine that is faster by a factor."""
    faster = []
    for each in collected.measured:
        parts = {p: s / factor for p, s in each.attribution.parts_s.items()}
        attribution = dataclasses.replace(
            each.attribution, parts_s=parts, wall_s=each.attribution.wall_s / factor
        )
        faster.append(dataclasses.replace(each, attribution=attribution))
    return dataclasses.replace(collected, measured=tuple(faster))


@settings(max_examples=15)
@given(
    serial=st.floats(0, 0.8),
    noise=st.floats(0, 0.2),
    repeats=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_the_smallest_size_is_the_base(serial, noise, repeats, seed):
    """SC-040: and each figure is inside its interval."""
    collected = simulated(amdahl(serial), (2, 4, 8), repeats=repeats, noise=noise, seed=seed)
    (series,) = analyse(collected, resamples=200).series
    first = series.sizes[0]
    assert dataclasses.astuple(first.efficiency) == (1.0, 1.0, 1.0)
    assert dataclasses.astuple(first.speedup) == (1.0, 1.0, 1.0)
    for size in series.sizes:
        for each in (size.throughput, size.step_s, size.speedup, size.efficiency):
            assert each.low <= each.value <= each.high
        ratio = size.throughput.value / first.throughput.value
        assert size.speedup.value == pytest.approx(ratio)
        assert size.efficiency.value == pytest.approx(ratio * first.ranks / size.ranks)


@settings(max_examples=10)
@given(order=st.integers(0, 10**6))
def test_the_order_of_the_runs_means_nothing(order):
    """SC-053"""
    collected = simulated(amdahl(0.1), (1, 2, 4, 8), repeats=3)
    shuffled = list(collected.measured)
    random.Random(order).shuffle(shuffled)
    again = dataclasses.replace(collected, measured=tuple(shuffled))
    assert analyse(again, resamples=200) == analyse(collected, resamples=200)


@settings(max_examples=10)
@given(factor=st.floats(1e-3, 1e3))
def test_the_unit_of_throughput_means_nothing(factor):
    """SC-053: ratios and the parameters of the laws stay."""
    collected = simulated(amdahl(0.1), repeats=3)
    (here,) = analyse(collected, resamples=200).series
    (there,) = analyse(scaled(collected, factor), resamples=200).series
    assert there.knee_ranks == here.knee_ranks
    for a, b in zip(here.sizes, there.sizes, strict=True):
        assert dataclasses.astuple(b.efficiency) == pytest.approx(dataclasses.astuple(a.efficiency))
        assert b.throughput.low == pytest.approx(factor * a.throughput.low)
    for a, b in zip(here.laws, there.laws, strict=True):
        assert b.held_out_error == pytest.approx(a.held_out_error, abs=1e-6)
        for name in set(a.parameters) - {"X1"}:
            assert dataclasses.astuple(b.parameters[name]) == pytest.approx(
                dataclasses.astuple(a.parameters[name]), abs=1e-5
            )


def test_strong_and_weak_and_tasks_per_node_are_series_of_their_own():
    """SC-040"""
    parts = [
        simulated(amdahl(0.1), (1, 2, 4), tasks_per_node=1),
        simulated(amdahl(0.3), (1, 2, 4), tasks_per_node=2),
        simulated(lambda p: GUSTAFSON.throughput(p, 500.0, (0.2,)), (1, 2, 4), mode="weak"),
    ]
    collected = study([each for part in parts for each in part.measured])
    found = analyse(collected, resamples=200).series
    assert [(s.mode, s.tasks_per_node) for s in found] == [
        ("strong", 1),
        ("strong", 2),
        ("weak", 1),
    ]
    assert [s.sizes[-1].ranks for s in found] == [4, 8, 4]
    assert [s.laws[0].name for s in found] == ["Amdahl", "Amdahl", "Gustafson"]
    serial = [s.laws[0].parameters["serial"].value for s in found]
    assert serial == pytest.approx([0.1, 0.3, 0.2], abs=0.05)


def test_a_run_that_is_both_strong_and_weak_counts_in_both():
    """SC-040: the smallest size of the two modes may be the same run."""
    both = [measurement(1, r, 100.0 + r) for r in range(3)]
    both = [
        dataclasses.replace(m, point=dataclasses.replace(m.point, modes=("strong", "weak")))
        for m in both
    ]
    others = [measurement(2, r, 190.0 + r, mode=m) for r in range(3) for m in ("strong", "weak")]
    found = analyse(study(both + others), resamples=200).series
    assert [[s.repeats for s in series.sizes] for series in found] == [[3, 3], [3, 3]]


def test_checkpoints_and_validation_do_not_count_as_training():
    """SC-040"""
    parts = {"checkpoint": 0.5, "validation": 0.25}
    with_them, without = (
        analyse(study([measurement(1, r, 100.0, parts_s=p) for r in range(3)])).series[0].sizes[0]
        for p in (parts, {})
    )
    assert with_them.throughput.value == pytest.approx(without.throughput.value) == 100.0
    assert with_them.step_s.value == pytest.approx(without.step_s.value) == 0.64
    assert with_them.parts_s["checkpoint"] == pytest.approx(0.5)


@pytest.mark.parametrize("repeats", [1, 2])
def test_one_repeat_has_no_interval_and_that_is_said(repeats):
    """SC-041, SC-050: few repeats are named with their sizes."""
    found = analyse(simulated(amdahl(0.1), (1, 2, 4), repeats=repeats), resamples=200)
    last = found.series[0].sizes[-1].throughput
    assert (last.low == last.value == last.high) == (repeats == 1)
    text = "Only one repeat" if repeats == 1 else "Fewer than 3 repeats"
    (warning,) = [each for each in found.warnings if each.startswith(text)]
    assert "4 ranks on 4 nodes" in warning


@pytest.mark.parametrize(
    "others",
    [
        {"attribution": Attribution(1, 10, 100, 0.0, {}, {})},
        {"attribution": Attribution(1, 10, 0, 1.0, {}, {})},
        {"attribution": Attribution(1, 5, 5, math.nan, {}, {})},
        {"attribution": Attribution(1, 1, 10**9, 1e-300, {}, {})},
        {"attribution": Attribution(1, 5, 5, 1.0, {"data": math.inf}, {})},
        {"started_at": math.nan},
        {"start_up_s": {"imports": math.nan}},
        {"goodput": math.inf},
        {"time_to_solution_s": math.inf},
    ],
)
def test_damaged_measurements_are_left_out(others):
    """SC-053: no division by zero, no NaN in a report."""
    collected = simulated(amdahl(0.1), (1, 2, 4), repeats=3)
    broken = measurement(8, 0, 1.0, **(others | {"run_id": "x\x1b[31mbad"}))
    found = analyse(
        dataclasses.replace(collected, measured=(*collected.measured, broken)), resamples=200
    )
    assert [size.nodes for size in found.series[0].sizes] == [1, 2, 4]
    assert any("Left out" in each and "xbad" in each for each in found.warnings)
    json.dumps(found.to_json(), allow_nan=False)


def test_a_study_that_measured_nothing():
    """SC-053"""
    collected = study([])
    found = analyse(collected, deadline_s=60)
    assert found.series == ()
    assert found.deadline.nodes is None
    assert "Nothing was measured" in found.deadline.why


def test_an_analysis_is_json_with_its_methods():
    """SC-041, SC-042: what a methods paragraph needs."""
    collected = simulated(lambda p: USL.throughput(p, 500.0, (0.05, 0.002)), repeats=3)
    found = analyse(collected, deadline_s=60, resamples=300)
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["methods"]["resamples"] == 300
    assert record["methods"]["confidence"] == 0.95
    assert record["lr_rule"] == "sqrt"
    assert [law["name"] for law in record["series"][0]["laws"]] == ["Amdahl", "USL"]
    assert all(law["source"] for law in record["series"][0]["laws"])


def test_identical_repeats_do_not_break_anything():
    """SC-053: no noise at all, as from a clock that is too coarse."""
    collected = simulated(amdahl(0.2), repeats=3, noise=0.0)
    found = analyse(collected, deadline_s=60, resamples=200)
    law = found.series[0].laws[0]
    assert law.parameters["serial"].value == pytest.approx(0.2)
    assert law.parameters["serial"].high - law.parameters["serial"].low < 1e-6
    assert np.isfinite([y for _, y in law.curve]).all()


def test_misfits_are_warned_of_with_their_series():
    """SC-043"""
    bent = {1: 100.0, 2: 190.0, 4: 350.0, 8: 390.0, 16: 250.0}
    runs = [measurement(n, r, x * (1 + r / 1000)) for n, x in bent.items() for r in range(3)]
    found = analyse(study(runs), resamples=200)
    assert any(each.startswith("strong, 1 task per node: Amdahl misses") for each in found.warnings)


def test_collected_is_not_changed():
    """SC-053: a pure function; asked twice, it says the same."""
    collected = simulated(amdahl(0.1), (1, 2, 4))
    before = dataclasses.asdict(collected)
    assert analyse(collected) == analyse(collected)
    assert isinstance(collected, Collected)
    assert dataclasses.asdict(collected) == before
