"""`ptycho-launch drill` on two local ranks, and what it says of a product that loses something."""

import os
import re
from pathlib import Path

import pytest
from waiting import HANG_S

from ptycho_dist.proof.verify import verify
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.ledger import read_ledger

TEXT = """
model: {n_filters_scale: 0.125}
training: {batch_size: 4}
execution: {accum_steps: 2, scheduler: Adaptive}
resources: {tasks_per_node: 2}
"""
LOSES_RANK_1S_RNG = """
import sys

class Late:
    def find_spec(self, name, path, target=None):
        if name == "ptycho_dist.training.checkpoints":
            from ptycho_dist.training import run_state
            own = run_state.restore_own_rng
            run_state.restore_own_rng = lambda states, rank, *rest: own(states, 0, *rest)

sys.meta_path.insert(0, Late())
"""


@pytest.fixture
def config(make_config, simulate, tmp_path):
    test = simulate(tmp_path / "test.npz", n_patterns=10, seed=1)
    path = make_config(TEXT)
    path.write_text(path.read_text().replace("npz}", f"npz, test_data_file: {test}}}"))
    return path


def drill(launch, config, *arguments, **environment):
    root = config.parent / "runs"
    done = launch(
        "drill", config, "--cluster", "local", "--runs-dir", root, *arguments,
        env=environment, timeout=HANG_S,
    )  # fmt: skip
    return done, done.stdout.splitlines(), root


def test_two_ranks_are_interrupted_and_nothing_is_lost(launch, config):
    """RS-001, RS-050, RD-045, RD-060 to RD-064, guarantees G2, G4 and G6."""
    points = ("mid-epoch", "validation", "random")  # the others: tests/slurm/test_drill.py
    arguments = ("--ranks", "2", "--signal", "TERM", "--points", ",".join(points), "--keep")
    done, lines, root = drill(launch, config, *arguments)
    assert (done.returncode, lines[-1]) == (0, "PASS"), done.stdout + done.stderr
    told = "\n".join(lines)
    for point in points:
        assert re.search(rf"^{point} \(.*\): all ranks stopped at step \d+; [\d.]+ s", told, re.M)
    assert re.search(
        r"signal to durable checkpoint: median [\d.]+ s, maximum [\d.]+ s; the lead is \d+ s", told
    )
    _, struck = sorted(root.iterdir())
    struck = RunDirectory(struck)
    proof = verify(struck)
    assert (proof.proven, len(proof.lineage)) == (True, 4)
    stops = [event for event in read_ledger(struck) if event["event"] == "stop_requested"]
    assert [event["signal"] for event in stops] == ["SIGTERM"] * 3


def test_a_rank_that_loses_its_random_generators_is_named(launch, config):
    """RS-003, RS-050: the ranks of a product that gives each of them the state of rank 0."""
    (config.parent / "sitecustomize.py").write_text(LOSES_RANK_1S_RNG)
    paths = os.pathsep.join([str(config.parent), os.environ.get("PYTHONPATH", "")])
    done, lines, root = drill(launch, config, "--points", "mid-epoch", PYTHONPATH=paths)
    assert done.returncode == 1, done.stdout + done.stderr
    assert lines[-1] == "FAIL: random generator of Python (attempt 2, rank 1)"
    assert "differs: random generator of torch (attempt 2, rank 1)" in lines
    assert not [line for line in lines if "differs: weights" in line]  # no random layer uses them
    assert len(list(root.iterdir())) == 2  # they stay, to be looked at


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--points", "window", "--set", "execution.accum_steps=1"), "no accumulation window"),
        (("--points", "bogus"), "bogus"),
        (("--ranks", "two"), "expected whole numbers, separated by commas"),
        (("--set", "training.batch_size=64"), "so it has no middle"),
    ],
)
def test_a_drill_that_cannot_be_is_refused(launch, config, arguments, words):
    done, _, root = drill(launch, config, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert not Path(root).exists()
