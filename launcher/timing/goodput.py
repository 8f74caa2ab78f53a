"""Goodput: the share of a run's time that went into optimizer steps its weights come from.

    goodput = Σ time of the steps in the committed lineage / Σ (end − start) of all attempts

The numerator counts a step once and only where the committed weights come from it: steps that a
later attempt threw away are lost work, and so is everything that is no step (start-up, validation,
writing checkpoints, the reconstruction). The denominator counts all attempts, failed ones too; the
waits between attempts are the scheduler's, not the run's, and have a figure of their own
(`Goodput.of_elapsed`). The page of a run and a study both take their figure from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from launcher.timing.attribution import training_s
from ptycho_dist.proof.lineage import LineagePart
from ptycho_dist.rundir.checked_json import count, number
from ptycho_dist.rundir.step_times import Block, RankTimes

Event = Mapping[str, Any]
"""One event of a ledger."""


@dataclass(frozen=True)
class AttemptTimes:
    """One attempt: when it ran, and the step times that its ranks wrote."""

    attempt: int
    started_at: float | None
    """Seconds since the epoch; None: unknown."""
    ended_at: float | None
    """Seconds since the epoch, the present for an attempt at work; None: unknown."""
    ranks: Sequence[RankTimes] = ()


@dataclass(frozen=True)
class Goodput:
    """Useful and total wall-clock time of a run, in seconds."""

    useful_s: float
    """Time of the optimizer steps that the committed weights come from, without checkpoints and
    validation."""
    attempts_s: float
    """Time of all attempts, each from its start to its end."""
    elapsed_s: float
    """Time from the first start to the last end, waits between attempts included."""
    unwritten_steps: int
    """Number of useful steps whose times are missing because a rank was killed before writing
    them; they count with the mean of the known steps."""
    measured: bool
    """Whether the useful time is the sum of step times; else it is taken from the times of the
    commits and includes validation."""

    @property
    def of_attempts(self) -> float:
        """The goodput: useful time over the time of all attempts, 0 to 1."""
        return min(1.0, self.useful_s / self.attempts_s)

    @property
    def of_elapsed(self) -> float:
        """Useful time over the elapsed time, 0 to 1."""
        return min(1.0, self.useful_s / self.elapsed_s)


def goodput(
    attempts: Sequence[AttemptTimes],
    lineage: Sequence[LineagePart] | None,
    events: Sequence[Event] = (),
) -> Goodput | None:
    """Compute the goodput of a run.

    Args:
        attempts: all attempts of the run, in order.
        lineage: the steps of each attempt that the committed weights come from; None: unknown.
        events: the ledger of rank 0, used where no step time at all was written.

    Returns:
        None where the lineage is unknown or no attempt has both a start and an end.
    """
    spans = [
        (each.started_at, each.ended_at)
        for each in attempts
        if each.started_at is not None and each.ended_at is not None
    ]
    if lineage is None or not spans:
        return None
    attempts_s = sum(max(0.0, end - start) for start, end in spans)
    elapsed_s = max(end for _, end in spans) - min(start for start, _ in spans)
    if attempts_s <= 0 or elapsed_s <= 0:
        return None
    ranks = {each.attempt: each.ranks for each in attempts}
    written = [_written(part, ranks.get(part.attempt, ())) for part in lineage]
    steps, seconds = sum(n for n, _ in written), sum(s for _, s in written)
    missing = sum(part.to_step - part.from_step for part in lineage) - steps
    if missing and not steps:
        useful_s = sum(_between_commits(part, events) for part in lineage)
        return Goodput(useful_s, attempts_s, elapsed_s, unwritten_steps=0, measured=False)
    useful_s = 0.0
    for part, (part_steps, part_s) in zip(lineage, written, strict=True):
        # The mean of the part where it has any step time, else the mean of the whole run.
        step_s = part_s / part_steps if part_steps else seconds / max(1, steps)
        useful_s += step_s * (part.to_step - part.from_step)
    return Goodput(useful_s, attempts_s, elapsed_s, unwritten_steps=missing, measured=True)


def credible_lineage(
    lineage: Sequence[LineagePart] | None, attempts: Sequence[AttemptTimes], *, finished: bool
) -> Sequence[LineagePart] | None:
    """The lineage to use for the goodput: the one from the ledger, unless step times disprove it.

    Where files of the ledger are gone, its lineage is missing, or claims steps for an attempt that
    began later. For a finished run the step times then tell the lineage.

    Args:
        lineage: as `verify` traces it; None: it could not.
        attempts: all attempts of the run, in order.
        finished: whether the run has finished, so that its last step is committed.
    """
    begun = {
        each.attempt: min(block.first_step for rank in each.ranks for block in rank.blocks)
        for each in attempts
        if any(rank.blocks for rank in each.ranks)
    }
    disproved = lineage is None or any(
        begun.get(part.attempt, 0) > part.from_step for part in lineage
    )
    if disproved and finished:
        return lineage_by_steps(attempts) or lineage
    return lineage


def lineage_by_steps(attempts: Sequence[AttemptTimes]) -> tuple[LineagePart, ...]:
    """The lineage of a finished run, from its step times alone.

    An attempt that began with step s threw away what the attempts before it did after s.
    """
    parts: list[LineagePart] = []
    until = float("inf")
    for each in reversed(attempts):
        blocks = [block for rank in each.ranks for block in rank.blocks]
        if not blocks:
            continue
        begun = min(block.first_step for block in blocks)
        reached = max(block.first_step + block.steps for block in blocks)
        if begun < until:
            parts.append(LineagePart(each.attempt, begun, int(min(reached, until))))
            until = begun
    return tuple(reversed(parts))


def last_sign_of_life(
    started_at: float | None, ranks: Sequence[RankTimes], events: Sequence[Event]
) -> float | None:
    """When an attempt whose end was not recorded was last known to be at work.

    Args:
        started_at: start of the attempt, in seconds since the epoch; None: unknown.
        ranks: what its ranks wrote of their steps.
        events: what its ledger holds.
    """
    known = [each.blocks[-1].ended_at for each in ranks if each.blocks]
    known += [float(event["time"]) for event in events]
    if started_at is not None:
        known.append(started_at)
    return max(known, default=None)


def _written(part: LineagePart, ranks: Sequence[RankTimes]) -> tuple[int, float]:
    """Number and seconds of the steps of a part whose times were written.

    All ranks make the same steps together. A rank that was killed early has written fewer, so only
    the ranks that wrote most count, with the mean of their seconds.
    """
    found = []
    for rank in ranks:
        inside = [(_inside(block, part), block) for block in rank.blocks]
        steps = sum(n for n, _ in inside)
        found.append((steps, sum(n * _step_s(block) for n, block in inside)))
    most = max((steps for steps, _ in found), default=0)
    return most, fmean([seconds for steps, seconds in found if steps == most] or [0.0])


def _inside(block: Block, part: LineagePart) -> int:
    """Number of steps of a block that belong to a part."""
    last = min(block.first_step + block.steps, part.to_step)
    return max(0, last - max(block.first_step, part.from_step))


def _step_s(block: Block) -> float:
    """Mean seconds of a step of a block, without checkpoints and validation."""
    return max(0.0, training_s(block.wall_s, block.parts_s)) / block.steps


def _between_commits(part: LineagePart, events: Sequence[Event]) -> float:
    """Seconds from the start of training to the commit of the part's last step.

    The time spent writing checkpoints is left out.
    """
    own = [event for event in events if event["attempt"] == part.attempt]
    began = [event for event in own if event["event"] == "training_started"]
    commits = [
        event
        for event in own
        if event["event"] == "checkpoint_committed"
        and (step := count(event, "step")) is not None
        and step <= part.to_step
    ]
    if not began or not commits:
        return 0.0
    writing = sum(max(0.0, number(event, "seconds") or 0.0) for event in commits)
    return max(0.0, float(commits[-1]["time"]) - float(began[0]["time"]) - writing)
