"""What a referee would ask about, and time to solution."""

import dataclasses

import numpy as np
import pytest
from simulated_study import measurement, simulated, study

from launcher.scaling.analysis.analyse import analyse
from launcher.scaling.analysis.drift import drift
from launcher.scaling.analysis.laws import AMDAHL
from launcher.scaling.analysis.results import Missing
from launcher.scaling.analysis.solution import time_to_solution
from ptycho_dist.rundir.measurement_plan import MeasurementPlan


def warnings(runs, **others):
    return analyse(study(runs, **others), resamples=100).warnings


def repeats(nodes=2, **others):
    return [measurement(nodes, r, x, **others) for r, x in enumerate((100.0, 102.0, 100.5))]


def test_a_sound_study_has_no_warnings():
    """SC-050"""
    assert warnings(repeats(1) + repeats(2)) == ()


@pytest.mark.parametrize(
    ("others", "said", "names"),
    [
        ({"cores": 1, "threads": 2}, "Oversubscribed", "2 threads on 1 cores"),
        ({"machines": 1}, "Nodes shared one machine", "2 ranks on 2 nodes"),
        ({"device": "NVIDIA\x1b[2J H100"}, "different devices", "NVIDIA H100"),
        ({"attempts": 3}, "More than one attempt", "strong-2x1-0 (3)"),
    ],
)
def test_what_is_warned_of_is_named(others, said, names):
    """SC-050: and terminal escapes of a device's name are gone."""
    found = warnings(repeats(1) + repeats(2, **others))
    (warning,) = [each for each in found if said in each]
    assert names in warning
    assert "\x1b" not in warning
    assert "1 rank on 1 node" not in warning


def test_repeats_on_different_nodes():
    """SC-050: of one size; that sizes differ is no wonder."""
    runs = repeats(1) + repeats(2)
    runs[-1] = dataclasses.replace(runs[-1], nodes=("n7", "n8"))
    (warning,) = warnings(runs)
    assert warning.startswith("Repeats ran on different nodes: strong, 2 ranks on 2 nodes.")


def test_missing_points_are_named_with_their_state():
    """SC-050"""
    lost = measurement(4, 1, 1.0)
    missing = (Missing(lost.point, "run-x\x1b]0;title\x07", "failed", "out of memory"),)
    found = warnings(repeats(1) + repeats(2), missing=missing)
    (warning,) = [each for each in found if "gave no measurement" in each]
    assert "4 ranks on 4 nodes, run-x: failed, out of memory" in warning
    assert "\x1b" not in warning


def test_many_names_are_cut():
    """SC-050: a warning stays readable in a study of hundreds of runs."""
    again = [measurement(1, r, 100.0 + r % 2, attempts=2) for r in range(40)]
    (warning,) = warnings(again)
    assert "and 35 more" in warning
    assert len(warning) < 400


# --- drift --------------------------------------------------------------------------------------


def drifting(per_hour, noise=0.01, seed=1):
    random = np.random.default_rng(seed)
    runs = []
    for place, (nodes, repeat) in enumerate((n, r) for r in range(5) for n in (1, 2, 4)):
        hours = place / 6
        x = 100.0 * nodes * np.exp(per_hour * hours + random.normal(0, noise))
        runs.append(measurement(nodes, repeat, float(x), started_at=1e9 + 3600 * hours))
    return runs


def test_a_drift_is_found_with_its_size():
    """SC-051: 5 % an hour."""
    found = drift(drifting(-0.05))
    assert found.per_hour == pytest.approx(-0.05, abs=0.02)
    assert found.p < 0.001
    (warning,) = [each for each in warnings(drifting(-0.05)) if "Throughput falls" in each]
    assert "an hour; p =" in warning


def test_a_short_study_says_no_rate_per_hour():
    """SC-051: some minutes tell nothing of an hour."""
    runs = [
        dataclasses.replace(each, started_at=1e9 + (each.started_at - 1e9) / 60)
        for each in drifting(-0.05)
    ]
    (warning,) = [each for each in warnings(runs) if "Throughput falls" in each]
    assert "an hour" not in warning


def test_no_drift_is_seldom_taken_for_one():
    """SC-051: p is a p-value; different sizes do not count as a drift."""
    ps = np.array([drift(drifting(0.0, seed=seed)).p for seed in range(200)])
    assert (ps < 0.05).mean() < 0.09
    assert 0.4 < ps.mean() < 0.6


def test_sizes_that_ran_in_order_are_no_drift():
    """SC-051: all of size 1 first, then all of size 4: what differs is the size."""
    runs = [
        measurement(n, r, x * (1 + 0.001 * (r % 2)), started_at=1e9 + 3600 * (5 * n + r))
        for n, x in ((1, 100.0), (4, 200.0))
        for r in range(5)
    ]
    assert drift(runs).p > 0.05


@pytest.mark.parametrize("runs", [[], [measurement(1, 0, 5.0)], repeats(1, started_at=1e9)])
def test_where_no_drift_can_be_told(runs):
    """SC-051"""
    assert drift(runs) is None


# --- time to solution ---------------------------------------------------------------------------


def test_the_rule_of_mlperf_hpc():
    """SC-049: five or more; the fastest and the slowest are dropped."""
    assert time_to_solution([10.0, 100.0, 12.0, 11.0, 1.0]) == pytest.approx(11.0)
    assert time_to_solution([1.0, 2.0, 3.0, 4.0]) is None


def towards(times):
    return study(
        [measurement(1, r, 100.0 + r, time_to_solution_s=t) for r, t in enumerate(times)],
        measurement=MeasurementPlan("target_loss", 0.1, 10),
    )


def test_runs_that_did_not_reach_the_target_are_counted_and_named():
    """SC-049"""
    found = analyse(towards([10.0, 12.0, None, 14.0, 16.0, 18.0]), resamples=100)
    size = found.series[0].sizes[0]
    assert size.time_to_solution_s == pytest.approx(14.0)
    assert size.time_to_solution_runs == 5
    (warning,) = [each for each in found.warnings if "did not reach" in each]
    assert "1 of 6 runs" in warning
    assert "strong-1x1-2" in warning


def test_fewer_runs_have_a_plain_mean_and_no_figure():
    """SC-049"""
    found = analyse(towards([10.0, 12.0, 14.0]), resamples=100)
    size = found.series[0].sizes[0]
    assert size.time_to_solution_s is None
    assert size.time_to_solution_mean_s == pytest.approx(12.0)
    assert any("plain mean is 12 s" in each for each in found.warnings)


def test_nobody_asked_for_a_solution():
    """SC-049"""
    collected = simulated(lambda p: AMDAHL.throughput(p, 100.0, (0.1,)))
    assert not any("target" in each for each in analyse(collected, resamples=100).warnings)
