"""The points of a study: sizes, batches, learning rates, their order; what is refused
(specs/scaling_study.md, SC-001 to SC-007)."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.scaling.study.points import epochs_for, points_of, scaled_rate, variants_of
from launcher.scaling.study.request import StudyRequest, parse_request
from ptycho_dist.config.load import read_run_config
from ptycho_dist.config.world import World
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.measurement_plan import MeasurementPlan

POWERS = st.sampled_from([1, 2, 4, 8, 16])
GRID = st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True)


def world(*, batch_size=16, ranks=4, accum_steps=1, samples=10**6):
    return World(
        nodes=ranks, tasks_per_node=1, ranks=ranks, devices_per_node=1, threads_per_rank=1,
        batch_size=batch_size, accum_steps=accum_steps,
        global_batch=batch_size * accum_steps * ranks, samples=samples, micro_batches_per_epoch=9,
        steps_per_epoch=9, epochs=3, total_steps=27,
    )  # fmt: skip


def request(**flags):
    flags = {"nodes": "1,2,4", "mode": "strong,weak", **flags}
    return parse_request(**flags)


@pytest.fixture(scope="module")
def config(tmp_path_factory, scan_file):
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    path.write_text(f"name: tiny\ndata: {{train_data_file: {scan_file}}}\n")
    return read_run_config(path).sound().config


@given(batch_size=POWERS, ranks=st.integers(1, 9), accum=st.integers(1, 3), nodes=GRID, tasks=GRID,
       mode=st.sampled_from(["strong", "weak", "strong,weak"]))  # fmt: skip
def test_strong_keeps_the_global_batch_and_weak_that_of_a_rank(
    batch_size, ranks, accum, nodes, tasks, mode
):
    """SC-001, SC-002: every size in every mode is a point or refused, and nothing else."""
    base = world(batch_size=batch_size, ranks=ranks, accum_steps=accum)
    wanted = request(nodes=",".join(map(str, nodes)), tasks_per_node=",".join(map(str, tasks)),
                     mode=mode)  # fmt: skip
    variants, faults = variants_of(base, 1e-3, wanted)
    for each in variants:
        assert each.global_batch == each.batch_size * accum * each.ranks
        assert ("strong" in each.modes) <= (each.global_batch == base.global_batch)
        assert ("weak" in each.modes) <= (each.batch_size == base.batch_size)
        assert each.batch_size & (each.batch_size - 1) == 0
        same = each.ranks == ranks and mode == "strong,weak"
        assert len(each.modes) == 1 + same
    sizes = [(each.nodes, each.tasks_per_node, m) for each in variants for m in each.modes]
    assert len(set(sizes)) == len(sizes)
    assert len(sizes) + len(faults) == len(nodes) * len(tasks) * len(wanted.modes)
    for name, _ in faults:
        assert name.endswith("strong")
        (n, t) = (int(part.split()[0]) for part in name.split(",")[0].split(" × "))
        share = base.global_batch / (n * t * accum)
        assert share != int(share) or math.log2(share) % 1


def test_what_cannot_be_names_size_and_mode():
    """SC-002"""
    base = world(batch_size=16, ranks=3, samples=200)
    _, faults = variants_of(base, 1e-3, request(nodes="1,3,5,32", tasks_per_node="1"))
    told = {name: str(fault) for name, fault in faults}
    assert list(told) == [
        "1 node × 1 task, strong", "5 nodes × 1 task, strong", "32 nodes × 1 task, strong",
        "32 nodes × 1 task, weak",
    ]  # fmt: skip
    assert "48 per rank" in told["1 node × 1 task, strong"]
    assert "power of two" in told["1 node × 1 task, strong"]
    assert "global batch of 48" in told["5 nodes × 1 task, strong"]
    assert "equally between 5 ranks" in told["5 nodes × 1 task, strong"]
    assert "512, but an epoch has only 200 samples" in told["32 nodes × 1 task, weak"]


@given(ratio=st.floats(1e-3, 1e3), rate=st.floats(1e-6, 1))
def test_the_learning_rate_follows_the_global_batch(ratio, rate):
    """SC-003"""
    assert scaled_rate(rate, ratio, "none") == rate
    assert scaled_rate(rate, ratio, "linear") == pytest.approx(rate * ratio)
    assert scaled_rate(rate, ratio, "sqrt") ** 2 == pytest.approx(rate**2 * ratio)
    assert scaled_rate(rate, 1, "sqrt") == rate


def test_strong_scaling_leaves_the_learning_rate():
    """SC-003"""
    variants, _ = variants_of(world(ranks=1), 1e-3, request(lr_rule="linear"))
    rates = {(each.modes[-1], each.ranks): each.learning_rate for each in variants}
    assert rates == {("weak", 1): 1e-3, ("strong", 2): 1e-3, ("strong", 4): 1e-3,
                     ("weak", 2): 2e-3, ("weak", 4): 4e-3}  # fmt: skip


@given(warm_up=st.integers(0, 50), steps=st.integers(1, 500), of_epoch=st.integers(1, 99),
       epochs=st.integers(1, 30))  # fmt: skip
def test_epochs_hold_warm_up_and_measurement(warm_up, steps, of_epoch, epochs):
    """SC-005: no more of them than it needs."""
    found = epochs_for(MeasurementPlan("steps", steps, warm_up), epochs, of_epoch)
    assert found >= epochs
    assert found * of_epoch >= warm_up + steps
    assert found == epochs or (found - 1) * of_epoch < warm_up + steps
    by_time = epochs_for(MeasurementPlan("seconds", 2.0, warm_up), epochs, of_epoch)
    assert by_time * of_epoch >= warm_up + 2000
    assert epochs_for(MeasurementPlan("target_loss", 0.1, warm_up), epochs, of_epoch) == epochs


@given(repeats=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_each_repeat_is_a_complete_block(config, repeats, seed):
    """SC-007, SC-010: all sizes once, in an order that (seed, repeat) alone decides."""
    wanted = request(repeats=repeats, seed=seed)
    base = world(ranks=1)
    variants, _ = variants_of(base, 1e-3, wanted)
    points = points_of(variants, base, config, wanted)
    assert points == points_of(variants, base, config, wanted)
    assert [point.index for point in points] == list(range(len(points)))
    assert [point.repeat for point in points] == sorted(point.repeat for point in points)
    sizes = Counter((point.repeat, point.modes, point.nodes) for point in points)
    assert set(sizes.values()) == {1}
    assert len(sizes) == repeats * len(variants)
    more = points_of(variants, base, config, request(repeats=repeats + 1, seed=seed))
    assert more[: len(points)] == points  # a further repeat leaves those before it as they are


def test_the_order_differs_between_repeats_and_seeds(config):
    """SC-007"""
    base = world(ranks=1)

    def order(seed):
        wanted = request(nodes="1,2,4,8", repeats=8, seed=seed)
        variants, _ = variants_of(base, 1e-3, wanted)
        points = points_of(variants, base, config, wanted)
        size = len(variants)
        return [
            tuple((p.nodes, p.modes) for p in points[start : start + size])
            for start in range(0, len(points), size)
        ]

    assert len(set(order(0))) > 4
    assert order(0) != order(1)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"nodes": None}, ["--nodes: missing"]),
        ({"nodes": ""}, ["--nodes: "]),
        ({"nodes": "1,,2"}, ["whole numbers"]),
        ({"nodes": "1,-2"}, ["whole numbers"]),
        ({"nodes": "²"}, ["whole numbers"]),
        ({"nodes": "9" * 5000}, ["whole numbers"]),
        ({"nodes": "0"}, ["from 1 to 100000"]),
        ({"nodes": "1,2,1"}, ["1 is given twice"]),
        ({"tasks_per_node": "2048"}, ["--tasks-per-node: 2048"]),
        ({"mode": "strong,strong"}, ["--mode: strong,strong"]),
        ({"repeats": 0}, ["--repeats: 0"]),
        ({"steps": 0}, ["--steps: 0"]),
        ({"steps": 5, "seconds": 1.0}, ["give one of them"]),
        ({"seconds": math.nan}, ["--seconds: nan"]),
        ({"seconds": math.inf}, ["--seconds: inf"]),
        ({"target_loss": math.nan}, ["--target-loss: nan"]),
        ({"warm_up": -1}, ["--warm-up: -1"]),
        ({"at_once": 0}, ["--at-once: 0"]),
        ({"seed": -1}, ["--seed: -1"]),
        ({"nodes": "2", "cluster": "local"}, ["--nodes: 2, but the local cluster"]),
        ({"nodes": "1", "at_once": 2, "cluster": "local"}, ["--at-once: 2, but the local"]),
        ({"nodes": "x", "mode": "y", "repeats": 0}, ["--nodes", "--mode", "--repeats"]),
    ],
)
def test_flags_that_cannot_be_are_told_all_at_once(flags, words):
    """SC-002, SC-013"""
    with pytest.raises(UserError) as caught:
        request(**flags)
    for line, word in zip(str(caught.value).splitlines(), words, strict=True):
        assert word in line


def test_too_many_runs_are_refused():
    """SC-002"""
    wanted = request(nodes=",".join(map(str, range(1, 101))), repeats=100, mode="weak")
    _, faults = variants_of(world(ranks=1), 1e-3, wanted)
    assert "100 sizes × 100 repeats: at most 2000 runs" in str(faults[-1][1])


@pytest.mark.parametrize("flags", [
    {"nodes": "1,2", "tasks_per_node": "4,2", "seed": 7, "at_once": 3, "lr_rule": "none"},
    {"seconds": 12.5, "repeats": 2}, {"target_loss": 1e-3, "warm_up": 0, "mode": "weak"},
])  # fmt: skip
def test_the_words_of_a_request_ask_for_the_same(flags):
    from launcher.cli import build_parser

    wanted = request(**flags)
    options = vars(build_parser().parse_args(["scale", "run.yaml", *wanted.words()]))
    names = ("nodes", "tasks_per_node", "mode", "repeats", "steps", "seconds", "target_loss",
             "warm_up", "lr_rule", "seed", "at_once")  # fmt: skip
    again = parse_request(**{name: options[name] for name in names})
    assert isinstance(again, StudyRequest)
    assert again == wanted
