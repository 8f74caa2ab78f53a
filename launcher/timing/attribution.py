"""Where the time of a run's steps went: what each rank wrote, put beside that of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ptycho_dist.rundir.step_times import Block, RankTimes

PARTS = (
    "data",
    "forward_backward",
    "communication",
    "straggler",
    "optimizer",
    "checkpoint",
    "validation",
    "framework",
)
"""Where the time of a step went, mean over the ranks; together they are the wall time.

communication: what every rank waits for in the reduction, the last one to come included.
straggler: what a rank waits there for ranks that come later.
"""


@dataclass(frozen=True)
class Attribution:
    """Some steps of all ranks, taken apart."""

    ranks: int
    steps: int
    samples: int
    """Of all ranks."""
    wall_s: float
    """Mean over the ranks."""
    parts_s: dict[str, float]
    """Seconds in each of PARTS, all these steps, mean over the ranks."""
    by_rank_s: dict[int, dict[str, float]]
    """The same for each rank by itself."""

    @property
    def samples_per_s(self) -> float:
        """In training alone: checkpoints and validation do not count."""
        rest = self.parts_s.get("checkpoint", 0.0) + self.parts_s.get("validation", 0.0)
        seconds = self.wall_s - rest
        return self.samples / seconds if seconds > 0 else 0.0


_ALIKE = ("data", "forward_backward", "optimizer", "checkpoint", "validation", "framework")
"""Phases that are parts as they are; the reduction is taken apart."""


def attribute(
    times: Mapping[int, RankTimes], *, skip_steps: int, ranks: int | None = None
) -> Attribution | None:
    """Take the steps of an attempt apart.

    All ranks leave the reduction of a step together, and each enters it when its own gradients are
    ready. With w_r the time of rank r in the reductions of a block, in seconds,

        communication = min over r of w_r,    straggler of rank r = w_r − communication:

    the rank that comes last waits for the transfer alone, the others for it, too. Any phase may
    have held it up (data, forward pass, a checkpoint): there its own time is longer.

    In a block of several steps (`block_length`) the minimum is taken of sums. Where the last one
    to come is not always the same rank, part of the straggling then counts as communication:
    alternating stragglers are under-estimated, a rank that is always late is not. What a transfer
    hides behind the backward pass is in neither: communication is the exposed part.

    Args:
        times: of all ranks in one attempt.
        skip_steps: first optimizer steps of the attempt that do not count; blocks that hold one
            of them do not.
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
    communication = min(block.parts_s["reduction"] for block in blocks.values())
    for rank, block in blocks.items():
        seconds = by_rank[rank]
        for phase in _ALIKE:
            seconds[phase] += block.parts_s[phase]
        seconds["communication"] += communication
        seconds["straggler"] += block.parts_s["reduction"] - communication
