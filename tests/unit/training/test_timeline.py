"""Which phase each moment of training belongs to, on a clock that the test moves."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ptycho_dist.rundir.step_times import PHASES, block_length
from ptycho_dist.training.device_clock import DeviceClock, device_clock
from ptycho_dist.training.timeline import ABSORBING, Timeline

CLOCK = DeviceClock(lambda: Hand.now, lambda a, b: b - a, lambda mark: True, lambda mark: None)


class Hand:
    """The hand of the clock, in whole seconds, whose sums are exact."""

    now = 0


@pytest.fixture
def timeline():
    Hand.now = 0
    line = Timeline(CLOCK)
    line.begin(0)
    return line


def spend(line, seconds, *phases):
    for phase in phases:
        line.enter(phase)
    Hand.now += seconds
    for _ in phases:
        line.leave()


def parts(block):
    return {phase: seconds for phase, seconds in block.parts_s.items() if seconds}


def test_a_step_with_everything_in_it(timeline):
    """SC-020, SC-021: the innermost phase gets the time; forward and backward get their own."""
    line = timeline
    spend(line, 1, "data")
    Hand.now += 2
    line.enter("optimizer")
    spend(line, 4, "forward_backward")
    line.enter("forward_backward")
    Hand.now += 8
    line.turn("forward_backward", "reduction")
    Hand.now += 16
    line.leave()
    Hand.now += 32
    line.leave()
    line.used(5)
    line.step_done()
    spend(line, 64, "checkpoint", "data")  # what is nested in it is of the checkpoint
    spend(line, 128, "validation", "forward_backward")
    line.enter("validation")
    spend(line, 256, "checkpoint")  # a stop in mid-validation
    line.leave()
    line.step_begins()
    spend(line, 999, "data")  # of a step that never is
    line.end()
    (block,) = line.take()
    assert parts(block) == {
        "data": 1, "framework": 2, "forward_backward": 12, "reduction": 16, "optimizer": 32,
        "checkpoint": 64 + 256, "validation": 128,
    }  # fmt: skip
    assert (block.first_step, block.steps, block.samples, block.wall_s) == (0, 1, 5, 511)


def test_a_turn_elsewhere_changes_nothing(timeline):
    """SC-022: the pass that settles DDP's buckets, for one, comes before any forward pass."""
    timeline.turn("forward_backward", "reduction")
    spend(timeline, 1)
    timeline.step_done()
    timeline.end()
    assert parts(timeline.take()[0]) == {"framework": 1}


moves = st.lists(
    st.one_of(
        st.sampled_from(PHASES[:-1]),
        st.sampled_from(["leave", "turn", "step", "look"]),
        st.integers(1, 9),
    ),
    max_size=60,
)


@given(moves)
def test_every_moment_belongs_to_one_phase(sequence):
    """SC-020: random nesting gives the same sums as a plain stack."""
    Hand.now = 0
    line = Timeline(CLOCK)
    line.begin(0)
    stack, wanted, found = ["framework"], dict.fromkeys(PHASES, 0), []
    for move in sequence:
        if isinstance(move, int):
            Hand.now += move
            inner = next((p for p in reversed(stack) if p in ABSORBING), stack[-1])
            wanted[inner] += move
        elif move == "leave":
            if len(stack) > 1:
                stack.pop()
                line.leave()
        elif move == "turn":
            line.turn("forward_backward", "reduction")
            absorbed = any(phase in ABSORBING for phase in stack)
            if stack[-1] == "forward_backward" and not absorbed:
                stack[-1] = "reduction"
        elif move == "step":
            line.step_done()
            line.step_begins()
        elif move == "look":
            found += line.take()
        else:
            stack.append(move)
            line.enter(move)
    line.step_done()
    line.end()
    found += line.take()
    assert sum(block.wall_s for block in found) == Hand.now
    for block in found:
        assert sum(block.parts_s.values()) == block.wall_s
    for phase in PHASES:
        assert sum(block.parts_s[phase] for block in found) == wanted[phase]


def test_blocks_grow_with_the_attempt():
    """SC-023: there are few, which begin and end at the same steps on all ranks."""
    line = Timeline(CLOCK)
    line.begin(7)
    for _ in range(2345):
        line.step_begins()
        line.step_done()
    line.end()
    blocks = line.take()
    assert [b.steps for b in blocks] == [*[1] * 100, *[10] * 90, *[100] * 13, 45]
    assert [b.first_step for b in blocks[:2]] == [7, 8]
    for block, following in itertools.pairwise(blocks):
        assert block.first_step + block.steps == following.first_step
    assert [block_length(done) for done in (0, 99, 100, 990, 1000, 9900, 10_000)] == [
        1, 1, 10, 10, 100, 100, 1000,
    ]  # fmt: skip


class Event:
    """A stand-in for a CUDA event on a simulated device."""

    device_at = 0.0  # milliseconds; the host is ahead
    waited = 0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = Hand.now

    def query(self):
        return self.at <= Event.device_at

    def synchronize(self):
        Event.waited += 1
        Event.device_at = max(Event.device_at, self.at)

    def elapsed_time(self, later):
        assert self.query()
        assert later.query()
        return later.at - self.at


def test_on_a_gpu_marks_are_events_that_are_looked_at_when_the_device_has_passed(monkeypatch):
    """SC-025: only the end waits for the device."""
    monkeypatch.setattr(torch.cuda, "Event", Event)
    Hand.now, Event.device_at, Event.waited = 0, 0.0, 0
    line = Timeline(device_clock(torch.device("cuda", 0)))
    line.begin(0)
    for _ in range(3):
        line.step_begins()
        spend(line, 1000, "data")
        spend(line, 3000, "forward_backward")
        line.step_done()
    line.step_begins()
    assert line.take() == []
    Event.device_at = 8500
    (first, second) = line.take()
    assert Event.waited == 0
    line.end()
    (third,) = line.take()
    assert Event.waited == 1
    for block in (first, second, third):
        assert parts(block) == {"data": 1, "forward_backward": 3}
        assert block.wall_s == 4
