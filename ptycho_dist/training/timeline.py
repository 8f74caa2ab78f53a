"""The phase of training that each moment belongs to, added up in blocks of steps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ptycho_dist.rundir.step_times import PHASES, Block, block_length
from ptycho_dist.training.device_clock import DeviceClock

ABSORBING = ("checkpoint", "validation")
"""Phases that keep all time within them: the forward pass of a validation is validation."""
_BOTTOM = "framework"
_MOST_PENDING = 512


@dataclass(frozen=True)
class _BlockEnd:
    """The end of a block of steps; its mark is in the list of pending marks."""

    first_step: int
    steps: int
    samples: int
    ended_at: float


class Timeline:
    """A stack of phases, of which the innermost gets the time.

    Marks are read later, when the device has passed them. A block ends where the wait for the next
    batch begins: a checkpoint or a validation after a step belongs to the block of that step.
    """

    def __init__(self, clock: DeviceClock) -> None:
        self._clock = clock
        self._mark = clock.mark
        self._stack = [_BOTTOM]
        # marks that are not read yet, each with the phase that begins there
        self._pending: list[tuple[Any, str, _BlockEnd | None]] = []
        self._running = False
        self._done = 0  # optimizer steps of this attempt in blocks that have ended
        self._first_step = 0
        self._steps = self._samples = 0  # of the current block
        self._last: Any = None  # the last mark that was read
        self._phase = _BOTTOM  # the phase that began there
        self._began: Any = None  # the mark where the block that is being added up began
        self._parts = dict.fromkeys(PHASES, 0.0)
        self._blocks: list[Block] = []

    def begin(self, step: int) -> None:
        """Count the time from here on, at this optimizer step; discards what was counted before."""
        self._pending = []
        self._last = self._began = self._mark()
        self._phase = self._stack[-1]
        self._first_step = step
        self._running = True

    def enter(self, phase: str) -> None:
        """Begin a phase within the current one."""
        stack = self._stack
        top = stack[-1]
        if top in ABSORBING and phase not in ABSORBING:
            phase = top
        stack.append(phase)
        if phase != top and self._running:
            self._pending.append((self._mark(), phase, None))

    def leave(self) -> None:
        """End the innermost phase."""
        stack = self._stack
        phase = stack.pop()
        if stack[-1] != phase and self._running:
            self._pending.append((self._mark(), stack[-1], None))

    def turn(self, phase: str, into: str) -> None:
        """Turn the innermost phase into another one until it ends, if it is the named one."""
        if self._stack[-1] == phase and self._running:
            self._stack[-1] = into
            self._pending.append((self._mark(), into, None))

    def used(self, samples: int) -> None:
        """Count samples that this rank has used."""
        self._samples += samples

    def step_done(self) -> None:
        """Count an optimizer step; what follows until the next batch still belongs to it."""
        self._steps += 1

    def step_begins(self) -> None:
        """Note that the wait for a batch begins; the block ends here if it has all its steps."""
        if self._steps and self._steps == block_length(self._done):
            self._end_block()
            if len(self._pending) > _MOST_PENDING:
                self.read_marks()

    def end(self) -> None:
        """End the last block, which may be short, and stop counting."""
        if self._steps and self._running:
            self._end_block()
        self._running = False
        if self._pending:
            self._clock.wait(self._pending[-1][0])
        self.read_marks()

    def take(self) -> list[Block]:
        """Return the blocks that are complete by now and were not taken before."""
        self.read_marks()
        blocks, self._blocks = self._blocks, []
        return blocks

    def read_marks(self) -> None:
        """Turn the marks that the device has passed into seconds."""
        count = 0
        for mark, phase, block_end in self._pending:
            if not self._clock.passed(mark):
                break
            count += 1
            self._parts[self._phase] += self._clock.seconds(self._last, mark)
            self._last, self._phase = mark, phase
            if block_end is not None:
                self._add_block(block_end, mark)
        del self._pending[:count]

    def _end_block(self) -> None:
        block_end = _BlockEnd(
            self._first_step + self._done, self._steps, self._samples, time.time()
        )
        self._pending.append((self._mark(), self._stack[-1], block_end))
        self._done += self._steps
        self._steps = self._samples = 0

    def _add_block(self, end: _BlockEnd, mark: Any) -> None:
        wall_s = self._clock.seconds(self._began, mark)
        self._blocks.append(
            Block(end.first_step, end.steps, end.samples, end.ended_at, wall_s, self._parts)
        )
        self._began, self._parts = mark, dict.fromkeys(PHASES, 0.0)
