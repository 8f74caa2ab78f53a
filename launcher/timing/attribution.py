"""Where the time of a run's steps went: the step times of all ranks, put side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ptycho_dist.rundir.step_times import Block, RankTimes


@dataclass(frozen=True)
class StepPart:
    """The words for one part of a step, the same in every report."""

    name: str
    heading: str
    """The name for narrow columns and legends."""
    meaning: str


STEP_PARTS = {
    "data": StepPart("waiting for data", "data", "waiting for a batch and moving it to the device"),
    "forward_backward": StepPart(
        "forward and backward pass", "forward/backward", "computing the loss and its gradients"
    ),
    "communication": StepPart(
        "exposed communication",
        "exposed comm.",
        "the part of the gradient reduction that is not hidden behind the backward pass",
    ),
    "straggler": StepPart(
        "waiting for slower ranks",
        "slower ranks",
        "waiting in the gradient reduction for ranks that arrive later",
    ),
    "optimizer": StepPart(
        "optimizer", "optimizer", "clipping and applying the gradients, and setting them to zero"
    ),
    "checkpoint": StepPart("checkpoints", "checkpoints", "writing and committing checkpoints"),
    "validation": StepPart(
        "validation", "validation", "validation and the reconstructions drawn with it"
    ),
    "framework": StepPart(
        "framework overhead", "framework", "Lightning's loops, heartbeats and bookkeeping"
    ),
}
"""The parts of a step, mean over the ranks; together they are the wall time."""
PARTS = tuple(STEP_PARTS)
"""The keys of STEP_PARTS, in their order."""
_NO_STEP = ("checkpoint", "validation")
"""Parts and phases in which no optimizer step is made."""
_PHASES_AS_THEY_ARE = tuple(part for part in PARTS if part not in ("communication", "straggler"))
"""Parts that are phases of a rank; the phase `reduction` is divided between the other two."""


def training_s(wall_s: float, parts_s: Mapping[str, float]) -> float:
    """Seconds of training alone: the wall time without checkpoints and validation.

    Args:
        wall_s: wall time of some steps, in seconds.
        parts_s: seconds in each part, or in each phase, of these steps.
    """
    return wall_s - sum(parts_s.get(name, 0.0) for name in _NO_STEP)


@dataclass(frozen=True)
class Attribution:
    """Some steps of all ranks, with the time of each part."""

    ranks: int
    steps: int
    samples: int
    """Number of samples used by all ranks together."""
    wall_s: float
    """Wall time of the steps in seconds, mean over the ranks."""
    parts_s: dict[str, float]
    """Seconds in each of PARTS over all these steps, mean over the ranks."""
    by_rank_s: dict[int, dict[str, float]]
    """Rank → seconds in each of PARTS over all these steps."""

    @property
    def training_s(self) -> float:
        """Seconds of training alone, without checkpoints and validation, mean over the ranks."""
        return training_s(self.wall_s, self.parts_s)

    @property
    def samples_per_s(self) -> float:
        """Throughput of all ranks in training alone."""
        seconds = self.training_s
        return self.samples / seconds if seconds > 0 else 0.0


def attribute(
    times: Mapping[int, RankTimes], *, skip_steps: int, ranks: int | None = None
) -> Attribution | None:
    """Divide the steps of an attempt into parts.

    All ranks leave the gradient reduction of a step together, and each enters it when its own
    gradients are ready. With w_r the seconds of rank r in the reductions of a block,

        communication = min over r of w_r,    straggler of rank r = w_r − communication:

    the rank that arrives last waits for the transfer alone, the others wait for that rank, too. Any
    phase may have held it up (data, forward pass, a checkpoint): its own time there is longer.

    In a block of several steps (`block_length`) the minimum is taken over sums. If the last rank to
    arrive is not always the same one, part of the straggling counts as communication: alternating
    stragglers are underestimated, a rank that is always late is not. A transfer that is hidden
    behind the backward pass counts as neither: communication is the exposed part.

    Args:
        times: step times of all ranks in one attempt.
        skip_steps: number of optimizer steps at the start of the attempt that do not count; a block
            that holds one of them does not count either.
        ranks: world size, where it is known.

    Returns:
        None where no block that counts was written by all ranks.
    """
    if not times or sorted(times) != list(range(ranks or len(times))):
        return None
    blocks = {
        rank: {(block.first_step, block.steps): block for block in each.blocks}
        for rank, each in times.items()
    }
    begun = [block.first_step for each in times.values() for block in each.blocks[:1]]
    common = set.intersection(*(set(of_rank) for of_rank in blocks.values()))
    counted = sorted(key for key in common if key[0] >= min(begun) + skip_steps)
    if not counted:
        return None
    by_rank = {rank: dict.fromkeys(PARTS, 0.0) for rank in times}
    for key in counted:
        of_block = {rank: of_rank[key] for rank, of_rank in blocks.items()}
        _add(by_rank, of_block)
    chosen = [of_rank[key] for of_rank in blocks.values() for key in counted]
    return Attribution(
        ranks=len(times),
        steps=sum(steps for _, steps in counted),
        samples=sum(block.samples for block in chosen),
        wall_s=sum(block.wall_s for block in chosen) / len(times),
        parts_s={
            part: sum(seconds[part] for seconds in by_rank.values()) / len(times) for part in PARTS
        },
        by_rank_s=by_rank,
    )


def _add(by_rank: Mapping[int, dict[str, float]], blocks: Mapping[int, Block]) -> None:
    """Add the parts of one block, written by all ranks, to the sums of the ranks."""
    communication = min(block.parts_s["reduction"] for block in blocks.values())
    for rank, block in blocks.items():
        seconds = by_rank[rank]
        for phase in _PHASES_AS_THEY_ARE:
            seconds[phase] += block.parts_s[phase]
        seconds["communication"] += communication
        seconds["straggler"] += block.parts_s["reduction"] - communication
