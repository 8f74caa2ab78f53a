"""Two studies beside each other."""

import dataclasses
import json

import numpy as np
import pytest
from simulated_study import measurement, simulated, study

from launcher.scaling.analysis.comparison import compare_sizes
from launcher.scaling.analysis.laws import AMDAHL
from ptycho_dist.rundir.measurement_plan import MeasurementPlan


def at(factor, seed=0, nodes=(1, 2, 4), repeats=5, noise=0.01, **others):
    return simulated(
        lambda p: factor * AMDAHL.throughput(p, 100.0, (0.1,)),
        nodes,
        repeats=repeats,
        noise=noise,
        seed=seed,
        **others,
    )


@pytest.mark.parametrize(("factor", "word"), [(1.2, "faster: +"), (0.8, "slower: -")])
def test_a_difference_is_found_with_its_interval(factor, word):
    """SC-052"""
    found = compare_sizes(at(1.0), at(factor, seed=1))
    assert [each.nodes for each in found.sizes] == [1, 2, 4]
    for each in found.sizes:
        assert each.verdict.startswith(word)
        assert each.ratio.low < factor < each.ratio.high
        assert each.ratio.value == pytest.approx(each.after.value / each.before.value)
    assert found.not_comparable == ()
    json.dumps(found.to_json(), allow_nan=False)


def test_nothing_changed_is_seldom_called_a_difference():
    """SC-052: of 3 × 60 sizes about one in twenty."""
    verdicts = [
        each.verdict
        for seed in range(60)
        for each in compare_sizes(at(1.0, seed), at(1.0, 1000 + seed), resamples=400).sizes
    ]
    called = sum(not each.startswith("no difference shown") for each in verdicts)
    assert called / len(verdicts) < 0.1


def test_one_repeat_shows_nothing():
    """SC-052: however large the difference."""
    found = compare_sizes(at(1.0), at(3.0, repeats=1))
    assert all("with one repeat" in each.verdict for each in found.sizes)
    assert all(each.parts == () for each in found.sizes)


def test_only_sizes_of_both_are_compared():
    """SC-052"""
    found = compare_sizes(at(1.0, nodes=(1, 2)), at(1.0, nodes=(2, 4)))
    assert [each.nodes for each in found.sizes] == [2]
    assert found.only_before == ("strong, 1 rank on 1 node",)
    assert found.only_after == ("strong, 4 ranks on 4 nodes",)


def test_the_parts_that_changed_are_named():
    """SC-052: communication fell by 30 ms of a step of 640 ms; data, by chance only, did not."""
    random = np.random.default_rng(0)

    def runs(communication):
        return study(
            [
                measurement(
                    1,
                    r,
                    100.0 + random.normal(),
                    parts_s={
                        "communication": communication + random.normal(0, 0.001),
                        "data": 0.05 + random.normal(0, 0.01),
                    },
                )
                for r in range(5)
            ]
        )

    (size,) = compare_sizes(runs(0.08), runs(0.05)).sizes
    assert size.parts[0].startswith("exposed communication: 79.9 ms a step, now -30 ms (")
    assert not any(each.startswith("waiting for data") for each in size.parts)


def test_what_makes_studies_not_comparable():
    """SC-052"""
    other = at(
        1.0,
        batch=128,
        device="H100\x1b[2J",
        nodes=(1, 2, 4),
        cores=1,
        threads=9,
    )
    changed = dataclasses.replace(
        other,
        study=dataclasses.replace(
            other.study,
            config_sha256="1" * 64,
            measurement=MeasurementPlan("seconds", 60.0, 10),
        ),
    )
    found = compare_sizes(at(1.0), changed)
    assert "different configs" in found.not_comparable[0]
    assert (
        "steps 100 after 10 warm-up steps before, seconds 60 after 10 warm-up steps after"
        in found.not_comparable[1]
    )
    texts = " | ".join(found.sizes[0].not_comparable)
    assert "batch per rank: 64 before, 128 after" in texts
    assert "global batch: 64 before, 128 after" in texts
    assert "device: cpu before, H100 after" in texts
    assert "\x1b" not in texts
    assert "threads: 1 before, 9 after" in texts
    assert "cores: 8 before, 1 after" in texts


def test_other_nodes_and_oversubscription_are_said():
    """SC-052"""
    after = study(
        [measurement(1, r, 100.0 + r, nodes=("n9",), cores=1, threads=2) for r in range(3)]
    )
    (size,) = compare_sizes(at(1.0, nodes=(1,)), after).sizes
    assert "nodes: n0 before, n9 after" in size.not_comparable
    assert any("oversubscribed after" in each for each in size.not_comparable)
