"""Which phase of training each moment belongs to, and the blocks of steps that come of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ptycho_dist.rundir.step_times import PHASES, Block, block_length
from ptycho_dist.training.device_clock import Marks

ABSORBING = ("checkpoint", "validation")
"""What is nested in them belongs to them: data and forward passes of a validation, say."""
_BOTTOM = "framework"
_MOST_PENDING = 512


@dataclass(frozen=True)
class _Cut:
    """A block ends at this mark."""

    first_step: int
    steps: int
    samples: int
    ended_at: float


class Timeline:
    """A stack of phases, of which the innermost has the time; its marks are looked at later.

    A block ends where the wait for the next batch begins: checkpoint and validation that follow a
    step belong to it.
    """

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._make = marks.make
        self._stack = [_BOTTOM]
        self._pending: list[tuple[Any, str, _Cut | None]] = []  # mark, phase from there on
        self._running = False
        self._done = 0  # optimizer steps of this attempt in blocks that are cut
        self._first_step = 0
        self._steps = self._samples = 0  # of the block at work
        self._last: Any = None  # the mark up to which the time is given to phases
        self._phase = _BOTTOM  # from there on
        self._began: Any = None  # the mark at which the block began that is being added up
        self._parts = dict.fromkeys(PHASES, 0.0)
        self._blocks: list[Block] = []

    def begin(self, step: int) -> None:
        """The time counts from here on, at this optimizer step; also anew, before the first one."""
        self._pending = []
        self._last = self._began = self._make()
        self._phase = self._stack[-1]
        self._first_step = step
        self._running = True

    def enter(self, phase: str) -> None:
        """A phase begins, within the one at work."""
        stack = self._stack
        top = stack[-1]
        if top in ABSORBING and phase not in ABSORBING:
            phase = top
        stack.append(phase)
        if phase != top and self._running:
            self._pending.append((self._make(), phase, None))

    def leave(self) -> None:
        """The innermost phase ends."""
        stack = self._stack
        phase = stack.pop()
        if stack[-1] != phase and self._running:
            self._pending.append((self._make(), stack[-1], None))

    def turn(self, phase: str, into: str) -> None:
        """The innermost phase becomes another one until it ends, if it is the one named."""
        if self._stack[-1] == phase and self._running:
            self._stack[-1] = into
            self._pending.append((self._make(), into, None))

    def used(self, samples: int) -> None:
        """This rank has used so many samples more."""
        self._samples += samples

    def step_done(self) -> None:
        """An optimizer step is done; what follows until the next batch is still of it."""
        self._steps += 1

    def step_begins(self) -> None:
        """The wait for a batch begins: the block ends here if it has its steps."""
        if self._steps and self._steps == block_length(self._done):
            self._cut()
            if len(self._pending) > _MOST_PENDING:
                self.look()

    def end(self) -> None:
        """Training is over; the last block may be short."""
        if self._steps and self._running:
            self._cut()
        self._running = False
        if self._pending:
            self._marks.wait(self._pending[-1][0])
        self.look()

    def take(self) -> list[Block]:
        """The blocks that are known by now and were not taken before."""
        self.look()
        blocks, self._blocks = self._blocks, []
        return blocks

    def look(self) -> None:
        """Turn the marks that have passed into seconds."""
        passed, seconds = self._marks.passed, self._marks.seconds
        count = 0
        for mark, phase, cut in self._pending:
            if not passed(mark):
                break
            count += 1
            self._parts[self._phase] += seconds(self._last, mark)
            self._last, self._phase = mark, phase
            if cut is not None:
                self._close(cut, mark)
        del self._pending[:count]

    def _cut(self) -> None:
        cut = _Cut(self._first_step + self._done, self._steps, self._samples, time.time())
        self._pending.append((self._make(), self._stack[-1], cut))
        self._done += self._steps
        self._steps = self._samples = 0

    def _close(self, cut: _Cut, mark: Any) -> None:
        wall_s = self._marks.seconds(self._began, mark)
        self._blocks.append(
            Block(cut.first_step, cut.steps, cut.samples, cut.ended_at, wall_s, self._parts)
        )
        self._began, self._parts = mark, dict.fromkeys(PHASES, 0.0)
