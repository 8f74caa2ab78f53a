"""Checkpoints are whole or not there, and only the attempt in charge commits (RD-040 to RD-044)."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from ptycho_dist.checkpoint.catalog import checkpoint_name, committed, newest_whole, sweep
from ptycho_dist.checkpoint.io import RunCheckpointIO, SupersededAttempt
from ptycho_dist.config.load import load_run_config
from ptycho_dist.config.world import world_of
from ptycho_dist.errors import UserError
from ptycho_dist.rundir import begin_attempt, prepare_run


@pytest.fixture
def run(make_config, tmp_path):
    loaded = load_run_config(make_config())
    plan = {"world": world_of(loaded.config, 37).to_json()}
    return prepare_run(tmp_path / "runs" / "r-1", loaded, plan, None)


def begin(run):
    return begin_attempt(run, job_id="x:1:1", cluster="local", nodes=["n"])


def state(step, value=0.0):
    return {"global_step": step, "state_dict": {"w": torch.full((1000,), value)}}


def save(run, attempt, step, value=0.0):
    RunCheckpointIO(run, attempt).save_checkpoint(
        state(step, value), run.checkpoints / checkpoint_name(step)
    )


def damage(checkpoint):
    content = bytearray(checkpoint.state.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.state.write_bytes(content)


def value(run, attempt):
    found, _ = newest_whole(run)
    loaded = RunCheckpointIO(run, attempt).load_checkpoint(found.path)
    return float(loaded["state_dict"]["w"][0])


def test_a_damaged_checkpoint_is_made_anew_when_its_step_comes_again(run):
    attempt = begin(run)
    save(run, attempt, 10)
    save(run, attempt, 20, 1.0)
    damage(committed(run)[-1])
    assert newest_whole(run)[0].step == 10
    again = begin(run)
    save(run, again, 20, 2.0)
    assert newest_whole(run) == (committed(run)[-1], [])
    assert value(run, again) == 2.0
    assert not list(run.checkpoints.glob(".*"))


def test_a_whole_one_of_the_same_attempt_is_left_and_of_another_replaced(run):
    attempt = begin(run)
    save(run, attempt, 10, 1.0)
    save(run, attempt, 10, 2.0)
    assert value(run, attempt) == 1.0
    later = begin(run)
    save(run, later, 10, 3.0)
    assert value(run, later) == 3.0


@pytest.mark.parametrize("step", [10, 20])
def test_a_superseded_attempt_commits_nothing(run, step):
    """RD-041: whether or not the step is already there."""
    first = begin(run)
    save(run, first, 10, 1.0)
    second = begin(run)
    with pytest.raises(SupersededAttempt, match="a later attempt has begun"):
        save(run, first, step if step == 20 else 11, 9.0)
    save(run, second, 10, 2.0)
    with pytest.raises(SupersededAttempt):
        save(run, first, 10, 9.0)
    assert value(run, second) == 2.0
    assert len(committed(run)) == 1
    assert not list(run.checkpoints.glob(".*"))


def test_a_disk_that_refuses_leaves_the_others_untouched(run, monkeypatch):
    attempt = begin(run)
    save(run, attempt, 10, 1.0)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(run, attempt, 20)
    monkeypatch.undo()
    assert value(run, attempt) == 1.0
    assert not list(run.checkpoints.glob(".*"))


def test_two_are_kept_and_the_newest_whole_one_always(run):
    attempt = begin(run)
    for step in (1, 2, 3):
        save(run, attempt, step)
    assert [c.step for c in committed(run)] == [2, 3]
    for step in (8, 9):
        save(run, attempt, step)
    for checkpoint in committed(run):
        damage(checkpoint)
    save(run, attempt, 4, 4.0)  # the steps are gone through again
    assert newest_whole(run)[0].step == 4
    save(run, attempt, 5, 5.0)
    assert value(run, attempt) == 5.0


def test_all_damaged_is_an_error_and_none_is_not(run):
    assert newest_whole(run) == (None, [])
    attempt = begin(run)
    save(run, attempt, 1)
    (committed(run)[0].path / "manifest.json").unlink()
    with pytest.raises(UserError, match="every checkpoint is damaged"):
        newest_whole(run)


def test_nothing_but_tensors_and_plain_values_is_unpickled(run):
    """RD-004"""
    attempt = begin(run)
    poisoned = {"global_step": 1, "state_dict": {}, "evil": signal.Signals.SIGTERM}
    RunCheckpointIO(run, attempt).save_checkpoint(poisoned, run.checkpoints / checkpoint_name(1))
    with pytest.raises(UserError, match="plain values"):
        RunCheckpointIO(run, attempt).load_checkpoint(committed(run)[0].path)


WRITER = """
import sys, torch
from pathlib import Path
from ptycho_dist.checkpoint.catalog import checkpoint_name
from ptycho_dist.checkpoint.io import RunCheckpointIO
from ptycho_dist.rundir import RunDirectory, begin_attempt
run = RunDirectory(Path(sys.argv[1]))
io = RunCheckpointIO(run, begin_attempt(run, job_id="x:1:1", cluster="local", nodes=["n"]))
step = int(sys.argv[2])
while True:
    step += 1
    state = {"global_step": step, "state_dict": {"w": torch.full((200_000,), float(step))}}
    io.save_checkpoint(state, run.checkpoints / checkpoint_name(step))
    print(step, flush=True)
"""


def test_a_kill_at_a_random_instant_never_loses_the_last_whole_one(run):
    """G5; the writer alone is killed, in the middle of writing, renaming or removing."""
    generator = random.Random(7)
    last = 0
    for _ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(run.path), str(last)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert writer.stdout.readline()  # it is at work
            time.sleep(generator.uniform(0, 0.2))  # the random instant
            writer.send_signal(signal.SIGKILL)
            said = [int(line) for line in writer.stdout.read().split()]
        finally:
            writer.kill()
            writer.wait()
        found, reasons = newest_whole(run)
        assert reasons == []
        assert found.step >= max([last + 1, *said])
        sweep(run)
        assert not list(run.checkpoints.glob(".*"))
        last = found.step
