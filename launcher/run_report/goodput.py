"""How much of the time of a run is in its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launcher.run_report.attempts import AttemptSpan
from launcher.run_report.events import Events
from ptycho_dist.proof.lineage import Part
from ptycho_dist.rundir.checked_json import count, number
from ptycho_dist.rundir.step_times import Block, RankTimes

_NO_STEP = ("checkpoint", "validation")


@dataclass(frozen=True)
class Goodput:
    """Seconds of wall-clock time."""

    useful_s: float
    """Optimizer steps that the committed weights come from; no checkpoint, no validation."""
    attempts_s: float
    """All attempts, from start to end."""
    elapsed_s: float
    """From the first start to the last end, waits between attempts included."""
    unwritten_steps: int
    """Of the useful ones: a kill came before their times were written; they count with the mean of
    the others of their attempt."""
    measured: bool
    """Step by step; else from the times of checkpoints, and validation counts as useful."""

    @property
    def of_attempts(self) -> float:
        """0 to 1."""
        return min(1.0, self.useful_s / self.attempts_s)

    @property
    def of_elapsed(self) -> float:
        """0 to 1."""
        return min(1.0, self.useful_s / self.elapsed_s)


def goodput_of(
    attempts: Sequence[AttemptSpan],
    lineage: Sequence[Part] | None,
    times: Mapping[int, Mapping[int, RankTimes]],
    events: Events,
) -> Goodput | None:
    """The goodput of a run; None where nobody knows what is in the weights, or when it ran."""
    spans = [
        (each.started_at, each.until)
        for each in attempts
        if each.started_at is not None and each.until is not None
    ]
    if lineage is None or not spans:
        return None
    attempts_s = sum(max(0.0, end - start) for start, end in spans)
    elapsed_s = max(end for _, end in spans) - min(start for start, _ in spans)
    useful_s, unwritten, measured = 0.0, 0, True
    for part in lineage:
        written, seconds = _by_blocks(part, times.get(part.attempt) or {})
        missing = part.to_step - part.from_step - written
        if written:
            useful_s += seconds * (1 + missing / written)
            unwritten += missing
        elif missing:
            measured = False
            useful_s += _by_checkpoints(part, events)
    if attempts_s <= 0 or elapsed_s <= 0:
        return None
    return Goodput(useful_s, attempts_s, elapsed_s, unwritten, measured)


def _by_blocks(part: Part, times: Mapping[int, RankTimes]) -> tuple[int, float]:
    """Steps of the part whose times are written, and their seconds; by the rank that has written
    most: all go in step."""
    found = [(0, 0.0)]
    for rank in times.values():
        inside = [(_inside(block, part), block) for block in rank.blocks]
        steps = sum(number for number, _ in inside)
        found.append((steps, sum(number * _step_s(block) for number, block in inside)))
    return max(found)


def _inside(block: Block, part: Part) -> int:
    last = min(block.first_step + block.steps, part.to_step)
    return max(0, last - max(block.first_step, part.from_step))


def _step_s(block: Block) -> float:
    """Seconds of each of its steps."""
    rest = sum(block.parts_s.get(name, 0.0) for name in _NO_STEP)
    return max(0.0, block.wall_s - rest) / block.steps


def _by_checkpoints(part: Part, events: Events) -> float:
    """From the beginning of training to the commit of the last step, checkpoints left out."""
    began = events.first("training_started", part.attempt)
    commits = [
        event
        for event in events.of("checkpoint_committed", attempt=part.attempt)
        if (step := count(event, "step")) is not None and step <= part.to_step
    ]
    if began is None or not commits:
        return 0.0
    writing = sum(max(0.0, number(event, "seconds") or 0.0) for event in commits)
    return max(0.0, float(commits[-1]["time"]) - float(began["time"]) - writing)
