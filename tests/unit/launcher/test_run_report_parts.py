"""Parts of the report of a run that can be judged by themselves."""

import io
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from launcher.run_report.attempts import AttemptSpan
from launcher.run_report.figures import draw_losses, draw_throughput, draw_timeline
from launcher.run_report.losses import EpochRow
from launcher.run_report.pictures import MOST_PIXELS, checked_png, evenly
from launcher.run_report.throughput import MOST_BINS, MOST_LINES, throughput_of
from ptycho_dist.rundir.step_times import PHASES, Block, RankTimes


def png():
    file = io.BytesIO()
    Figure(figsize=(1, 0.5)).savefig(file, format="png", dpi=20)
    return file.getvalue()


PNG = png()


def span(number=1, started_at=100.0, until=200.0, **more):
    known = {
        "job_id": "7", "cluster": "slurm", "nodes": ("n",), "begun": "submitted", "cause": "",
        "ended": "", "at_work": False, "idle_s": None, "waited_s": None, "training_from": None,
        "training_until": None, "from_step": 0, "of_attempt": None, "reached_step": None,
        "kept_steps": None, "checkpoints": (), "failed_checkpoints": (), "start_up_s": {},
    }  # fmt: skip
    return AttemptSpan(attempt=number, started_at=started_at, until=until, **(known | more))


def block(first_step, steps=1, samples=4, ended_at=0.0, **parts_s):
    parts = dict.fromkeys(PHASES, 0.0) | parts_s
    return Block(first_step, steps, samples, ended_at, sum(parts.values()), parts)


@given(st.lists(st.integers(0, 10**6), unique=True).map(sorted), st.integers(1, 12))
def test_evenly_chosen(numbers, most):
    """SC-083"""
    chosen = evenly(numbers, most)
    assert len(chosen) == min(most, len(numbers))
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(numbers)
    if numbers:
        assert chosen[-1] == numbers[-1]
    if numbers and most > 1:
        assert chosen[0] == numbers[0]


def test_a_png_that_matplotlib_writes_is_one():
    """SC-083"""
    assert checked_png(PNG) == (20, 10)


@given(st.integers(0, len(PNG) - 1))
def test_a_png_that_was_cut_short_is_none(length):
    """SC-083"""
    with pytest.raises(ValueError, match="PNG"):
        checked_png(PNG[:length])


@given(st.integers(8, len(PNG) - 1), st.integers(1, 255))
def test_a_png_with_a_wrong_byte_is_none(place, change):
    """SC-083"""
    content = bytearray(PNG)
    content[place] ^= change
    with pytest.raises(ValueError, match="PNG"):
        checked_png(bytes(content))


def test_a_png_with_something_behind_it_and_one_that_is_too_large_are_refused():
    """SC-083"""
    with pytest.raises(ValueError, match="behind"):
        checked_png(PNG + b"<html>")
    for side in (int(MOST_PIXELS**0.5) + 1, 12_000, 100_000):
        header = b"IHDR" + struct.pack(">II", side, side) + PNG[24:29]
        large = PNG[:12] + header + struct.pack(">I", zlib.crc32(header)) + PNG[33:]
        with pytest.raises(ValueError, match="pixels"):
            checked_png(large)


def rates_of(ranks, blocks=30, slowest=3):
    times = {
        rank: RankTimes(
            rank,
            node=f"n{rank}",
            blocks=tuple(
                block(
                    number,
                    ended_at=101.0 + number,
                    forward_backward=0.9 if rank == slowest else 0.5,
                    reduction=0.1 if rank == slowest else 0.5,
                    checkpoint=1.0 if number == 5 else 0.0,
                )
                for number in range(blocks)
            ),
        )
        for rank in range(ranks)
    }
    return throughput_of([span()], {1: times}, [], {})


def test_few_ranks_have_a_line_each_and_many_a_band():
    """SC-084"""
    few, many = rates_of(MOST_LINES), rates_of(MOST_LINES + 1)
    assert sorted(few.attempts[0].by_rank) == list(range(MOST_LINES))
    assert many.attempts[0].by_rank == {}
    assert set(many.attempts[0].middle) == {4.0}
    assert "slowest to fastest" in draw_throughput(many)
    assert "rank 3" in draw_throughput(few)


def test_the_rank_with_the_most_work_of_its_own_is_named():
    """SC-084: all ranks are equally fast, as they go in step."""
    found = rates_of(5)
    assert (found.slowest.rank, found.slowest.node) == (3, "n3")
    assert found.slowest.own_s == pytest.approx(0.9)
    assert found.others_own_s == pytest.approx(0.5)
    assert {rank.samples_per_s for rank in found.ranks} == {4.0}


def test_long_runs_are_drawn_in_slices():
    """SC-084: nothing is lost, and the rate is that of all steps of a slice."""
    found = rates_of(2, blocks=7 * MOST_BINS + 3).attempts[0]
    assert len(found.middle) <= MOST_BINS
    assert set(found.middle) == {4.0}
    assert list(found.at_s) == sorted(found.at_s)


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**6),
            st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32),
            st.sampled_from(["committed", "given_up", "open"]),
            st.none() | st.integers(1, 3),
        ),
        max_size=6,
    )
)
def test_any_losses_can_be_drawn(rows):
    """SC-082"""
    epochs = [
        EpochRow(
            epoch=epoch, step=epoch, train_loss=loss, val_loss=None, learning_rate=None,
            seconds=None, patterns_per_s=None, attempt=attempt, at=None, standing=standing,
        )
        for epoch, loss, standing, attempt in rows
    ]  # fmt: skip
    drawn = draw_losses(epochs, {2: 1.5})
    assert (drawn is None) == all(loss is None for _, loss, _, _ in rows)


def test_a_wait_far_longer_than_the_attempts_does_not_flatten_them():
    """SC-086"""
    drawn = draw_timeline([span(waited_s=9 * 86400.0), span(2, 300.0, 400.0, idle_s=5.0)])
    assert "9 d" in drawn
    assert "seconds from the start of each attempt" in drawn
