"""The clock of a rank in a training finds the reduction, and changes nothing."""

import pytest
import torch

from ptycho_dist.rundir.step_times import read_step_times
from ptycho_dist.runtime import start_up as start_up_room
from ptycho_dist.runtime.start_up import StartUp, process_started_at, this_machine
from ptycho_dist.training import step_clock as clock_room
from ptycho_dist.training.step_clock import StepClock
from ptycho_dist.training.timeline import Timeline

TEXT = """
model: {n_filters_scale: 0.125}
training: {nepochs: 1, batch_size: 2}
execution: {accum_steps: 2, strategy: STRATEGY}
"""
DATA = "n_groups: 12"  # 6 micro-batches, 3 steps


def test_the_reduction_is_what_follows_the_last_gradient_and_weights_are_as_without_it(
    fit, monkeypatch
):
    """SC-022, SC-031: one of two micro-batches reduces; a rank alone reduces nothing."""
    turns = []
    turn = Timeline.turn

    def counted(self, phase, into):
        turns.append(self._stack[-1])
        turn(self, phase, into)

    monkeypatch.setattr(Timeline, "turn", counted)
    ddp, alone = TEXT.replace("STRATEGY", "ddp"), TEXT.replace("STRATEGY", "auto")
    weights = fit(ddp, data=DATA).weights()
    assert turns == ["forward_backward"] * 3
    blocks = read_step_times(fit.last_run, 1)[0].blocks
    assert len(blocks) == 3
    assert all(block.parts_s["reduction"] > 0 for block in blocks)
    fit(alone, data=DATA)
    assert len(turns) == 3
    assert not any(b.parts_s["reduction"] for b in read_step_times(fit.last_run, 1)[0].blocks)

    monkeypatch.setattr(StepClock, "watch_gradients", lambda *_: None)
    for name, plain in fit(ddp, data=DATA).weights().items():
        assert torch.equal(plain, weights[name]), name


def test_a_failure_leaves_what_is_known_by_then(fit, monkeypatch):
    """SC-026: the step that fails is not part of a block."""
    from ptycho_dist.training.module import PtychoModule

    forward, calls = PtychoModule.training_step, []

    def fails(self, batch, batch_idx):
        calls.append(batch_idx)
        if len(calls) == 4:
            raise ZeroDivisionError
        return forward(self, batch, batch_idx)

    monkeypatch.setattr(PtychoModule, "training_step", fails)
    with pytest.raises(ZeroDivisionError):
        fit(TEXT.replace("STRATEGY", "auto"), data=DATA)
    (block,) = read_step_times(fit.last_run, 1)[0].blocks
    assert (block.first_step, block.samples) == (0, 4)


def test_the_utilisation_of_a_gpu_is_left_out_where_the_machine_does_not_tell(monkeypatch):
    """SC-027"""
    asked = []

    def tells(device):
        asked.append(device)
        if len(asked) == 3:
            raise ModuleNotFoundError("pynvml")
        return 40 * len(asked)

    monkeypatch.setattr(torch.cuda, "utilization", tells)
    of_gpu = clock_room._Utilisation(torch.device("cuda", 0))
    for _ in range(5):
        of_gpu.sample()
    assert (of_gpu.mean, len(asked)) == (0.6, 3)
    of_cpu = clock_room._Utilisation(torch.device("cpu"))
    of_cpu.sample()
    assert (of_cpu.mean, len(asked)) == (None, 3)


def test_the_start_is_taken_apart_without_a_gap(monkeypatch):
    """SC-024: a part may occur twice; without /proc the clock begins now."""

    class Clock:
        now = 100.0
        CLOCK_BOOTTIME = 0

        @classmethod
        def time(cls):
            return cls.now + 1e9

        @classmethod
        def monotonic(cls):
            return cls.now

        @classmethod
        def clock_gettime(cls, _):
            return cls.now

    monkeypatch.setattr(start_up_room, "time", Clock)
    monkeypatch.setattr(start_up_room, "start_time", lambda pid: 9000)  # 90 s after boot
    monkeypatch.setattr(start_up_room.os, "sysconf", lambda name: 100)
    start_up = StartUp()
    assert start_up.started_at == 1e9 + 90
    for part, seconds in (("imports", 2), ("rendezvous", 3), ("imports", 4)):
        Clock.now += seconds
        start_up.spent(part)
    assert start_up.seconds == {"imports": 10 + 2 + 4, "rendezvous": 3}
    monkeypatch.setattr(start_up_room, "start_time", lambda pid: None)
    assert process_started_at() == Clock.time()
    assert len(this_machine()) == 16
