"""A writer of checkpoints that is killed at any instant leaves the run resumable."""

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import fork_client
import pytest
from waiting import HANG_S

from ptycho_dist.checkpoint.catalog import checkpoint_name

KILLS = 300
WRITER = Path(__file__).with_name("kill_writer_program.py")


@pytest.fixture
def scratch(run):
    """A folder for temporary files on another file system than the run's."""
    own = run.path.stat().st_dev
    other = next(p for p in ("/dev/shm", "/var/tmp", "/tmp") if Path(p).stat().st_dev != own)
    with tempfile.TemporaryDirectory(dir=other) as folder:
        yield Path(folder)


def kill_writer(run, mode, kills, scratch):
    done = fork_client.run(
        [sys.executable, WRITER, mode, run.path, *kills],
        stdout=subprocess.PIPE,
        text=True,
        timeout=HANG_S,
        check=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(outcomes) == len(kills)
    for outcome in outcomes:
        assert outcome["killed"]
        assert outcome["torn"] == []
        assert outcome["reasons"] == []
        assert outcome["found"] >= outcome["committed"]
        assert outcome["holds"] == outcome["found"]
        assert outcome["after_sweep"] == checkpoint_name(outcome["found"])
        assert outcome["hidden_after_sweep"] == []
    assert list(scratch.iterdir()) == []
    return outcomes


def test_a_kill_at_a_random_instant_never_loses_the_last_whole_one(run, scratch):
    """RD-040, RD-043: 300 kills of one run while it writes, renames or removes."""
    generator = random.Random(7)
    delays = [f"{generator.uniform(0, 0.015):.5f}" for _ in range(KILLS)]
    outcomes = kill_writer(run, "random", delays, scratch)
    found = [outcome["found"] for outcome in outcomes]
    assert found == sorted(found)  # never back to an older one, and never to the start
    left = [{name.rpartition(".")[2] for name in outcome["hidden"]} for outcome in outcomes]
    assert sum("tmp" in suffixes for suffixes in left) > KILLS // 10
    assert len([suffixes for suffixes in left if suffixes]) < KILLS  # some fell between two saves


def test_a_kill_at_each_step_of_a_replacement_leaves_a_whole_one(run, scratch):
    """RD-044: the only checkpoint of the run is replaced, by three renames and a removal."""
    instants = ["rename:1", "rename:2", "rename:3", "rmtree:1"]
    outcomes = kill_writer(run, "at", instants, scratch)
    suffixes = [sorted(name.rpartition(".")[2] for name in o["hidden"]) for o in outcomes]
    assert suffixes == [["tmp"], ["tmp"], ["replaced", "tmp"], ["replaced"]]
