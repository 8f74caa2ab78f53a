"""A run directory with a writer of checkpoints, and damage to what it wrote."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import pytest
import torch

from ptycho_dist.attempts.attempt import Attempt, begin_attempt
from ptycho_dist.checkpoint.catalog import Checkpoint, checkpoint_name, committed
from ptycho_dist.checkpoint.io import RunCheckpointIO
from ptycho_dist.config.load import read_run_config
from ptycho_dist.config.world import world_of
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.making import prepare_run
from ptycho_dist.rundir.run_plan import RunPlan


@pytest.fixture
def make_run(make_config):
    """`make_run(path)` makes a run directory that has never started."""

    def make(path):
        loaded = read_run_config(make_config()).sound()
        plan = RunPlan(world=world_of(loaded.config, 37))
        return prepare_run(path, loaded, plan, None)

    return make


@pytest.fixture
def run(make_run, tmp_path):
    return make_run(tmp_path / "runs" / "r-1")


@dataclass
class Store:
    """The checkpoints of a run, written by one attempt."""

    run: RunDirectory
    keep: dict = field(default_factory=dict)
    size: int = 1000
    attempt: Attempt = field(init=False)
    io: RunCheckpointIO = field(init=False)

    def __post_init__(self):
        self.begin()

    def begin(self):
        """Start again, without knowing what the writer before has read."""
        self.attempt = begin_attempt(self.run, job_id="x:1:1", cluster="local", nodes=["n"])
        self.io = RunCheckpointIO(self.run, self.attempt, **self.keep)

    def save(self, step, value=None, ends_epoch=None):
        state = {
            "global_step": step,
            "monitored": value,
            "state_dict": {"w": torch.full((self.size,), float(step))},
        }
        if ends_epoch is not None:
            state["position"] = {"epoch": ends_epoch, "sample": 0, "ends_epoch": True}
        self.io.save_checkpoint(state, self.run.checkpoints / checkpoint_name(step))

    def remove(self, step):
        self.io.remove_checkpoint(self.run.checkpoints / checkpoint_name(step))

    def at(self, step):
        return Checkpoint(self.run.checkpoints / checkpoint_name(step), step)

    def steps(self):
        return [checkpoint.step for checkpoint in committed(self.run)]

    def whole(self):
        return [checkpoint.step for checkpoint in committed(self.run) if checkpoint.fault() is None]

    def content(self):
        """Return every byte of every checkpoint, by step and file."""
        return {
            (checkpoint.step, path.name): path.read_bytes()
            for checkpoint in committed(self.run)
            for path in checkpoint.path.iterdir()
        }

    def hidden(self):
        return [path.name for path in self.run.checkpoints.glob(".*")]

    def flip(self, step, position=-100):
        """Flip one bit of the state, and make its time later for any clock of the file system."""
        state = self.at(step).state
        content = bytearray(state.read_bytes())
        content[position] ^= 1
        before = state.stat().st_mtime_ns
        state.write_bytes(content)
        os.utime(state, ns=(before, before + 10**9))


@pytest.fixture
def make_store():
    """`make_store(run, size=1000, keep={})`"""
    return Store
