"""The guard names a stalled rank, and leaves in time (RS-012, RS-013)."""

import os
import re
import signal
import threading
import time

import pytest
from waiting import HANG_S

from ptycho_dist.runtime.guard import RankGuard, judge_stall
from ptycho_dist.runtime.stop import StopRequest

NODES = ["n1", "n1", "n2", "n2"]


def said(*of_ranks):
    return [f"{beat} {count} {where}" for beat, count, where in of_ranks]


def test_a_rank_without_a_beat_is_silent():
    before = said((5, 10, "a"), (5, 10, "a"), (7, 9, "loading"), (5, 10, "a"))
    after = said((9, 10, "a"), (8, 10, "a"), (7, 9, "loading"), (9, 10, "a"))
    assert judge_stall(before, after, NODES, 0) == ("rank 2 on n2 shows no sign of life", [2])


def test_the_rank_with_the_fewest_moves_is_behind():
    before = said((1, 11, "reducing"), (1, 11, "reducing"), (1, 11, "reducing"), (1, 10, "data"))
    after = said((2, 11, "reducing"), (2, 11, "reducing"), (2, 11, "reducing"), (2, 10, "data"))
    assert judge_stall(before, after, NODES, 0) == ("rank 3 on n2 is behind, in: data", [])


def test_ranks_at_one_place_wait_for_each_other():
    before = said(*[(1, 11, "the backward pass")] * 4)
    after = said(*[(2, 11, "the backward pass")] * 4)
    reason, silent = judge_stall(before, after, NODES, 0)
    assert reason == "all ranks are at the same place (the backward pass) and wait for each other"
    assert silent == []


def test_a_store_that_is_gone_is_rank_0s_fault():
    assert judge_stall([], [], NODES, 1) == ("rank 0 and its store do not answer", [0])


class Left(Exception):
    pass


@pytest.fixture
def guard():
    """`guard(…)` returns a running guard, and the list of the calls that it makes."""
    stop = StopRequest()
    previous = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    guards = []

    def start(limit_s=1000.0, lead_s=None):
        stop.install()
        done, happened = [], threading.Event()

        def leave(why):
            done.append(why)
            happened.set()
            guards[-1].end()

        def fail(reason, silent):
            done.append((reason, silent))
            happened.set()
            guards[-1].end()

        guards.append(
            RankGuard(0, ["n1"], stop, limit_s=limit_s, lead_s=lead_s, leave=leave, fail=fail)
        )
        guards[-1].start("", 0)
        return done, happened

    yield start
    for each in guards:
        each.end()
    signal.set_wakeup_fd(-1)
    for number, handler in previous.items():
        signal.signal(number, handler)


def test_one_signal_is_waited_for_and_a_second_one_is_not(guard):
    done, happened = guard()
    os.kill(os.getpid(), signal.SIGUSR2)
    os.kill(os.getpid(), signal.SIGUSR2)  # the same one, delivered twice
    assert not happened.wait(1.3)
    os.kill(os.getpid(), signal.SIGTERM)
    assert happened.wait(HANG_S)
    assert done == ["second signal"]


def test_the_deadline_of_a_stop(guard):
    done, happened = guard(lead_s=0.5)
    os.kill(os.getpid(), signal.SIGUSR2)
    assert happened.wait(HANG_S)
    assert done == ["deadline"]


def test_a_rank_that_does_not_move_names_its_place(guard):
    done, happened = guard(limit_s=0.5)
    assert happened.wait(HANG_S)
    ((reason, silent),) = done
    assert re.fullmatch(r"no progress for \d+ s: rank 0 on n1 is behind, in: joined", reason)
    assert silent == []


def test_a_rank_that_moves_is_left_alone(guard):
    done, happened = guard(limit_s=3.0)
    (each,) = (thread for thread in threading.enumerate() if thread.name == "guard")
    deadline = time.monotonic() + 6
    moved = each._target.__self__.moved
    while time.monotonic() < deadline:
        moved("computing")
        assert not happened.wait(0.05)
    assert done == []
