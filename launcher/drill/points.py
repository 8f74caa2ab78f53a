"""Chooses where a drill interrupts a run, and how short that run is."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ptycho_dist.config.world import World
from ptycho_dist.errors import UserError

POINTS = ("mid-epoch", "window", "epoch-end", "validation", "random")
"""Points at which a run can be interrupted, in the order in which it reaches them."""
STEPS = 4
"""Optimizer steps of an epoch, beside a last one that is not full."""


@dataclass(frozen=True)
class Interruption:
    """One signal to one rank at one place of the training."""

    point: str
    """Name from POINTS."""
    attempt: int
    """Number of the attempt that it interrupts."""
    rank: int
    """Rank that receives the signal."""
    place: str
    """`training`, `validation` or `epoch_end`."""
    epoch: int
    batch: int
    """Micro-batch of the epoch, or batch of the validation."""
    signal: str
    """`SIGUSR2` or `SIGTERM`."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for plan.json, where the ranks read it."""
        return {name: value for name, value in vars(self).items() if name != "point"}

    def __str__(self) -> str:
        place = f"epoch {self.epoch}"
        if self.place == "validation":
            place += f", batch {self.batch}"
        elif self.place == "training":
            place += f", micro-batch {self.batch}"
        return f"{self.point} ({place}, {self.signal} to rank {self.rank})"


def short_run(world: World, points: Sequence[str]) -> list[str]:
    """The overrides, as `--set` takes them, that make a run short.

    The run has an epoch for each point and one more, since the ranks stop some steps after a
    signal.

    Args:
        world: of the config.
        points: names from POINTS.
    """
    width = world.batch_size * world.ranks
    samples = width * world.accum_steps * STEPS + (width + 1) // 2  # the last step is not full
    return [
        f"training.nepochs={len(points) + 1}",
        f"data.n_groups={min(world.samples, samples)}",
        "execution.early_stop_patience=100",
        "execution.enable_checkpointing=true",
        "reconstruct=false",
        "requeue.on=[]",
    ]


def applicable_points(world: World, *, validates: bool) -> list[str]:
    """The points that a run has: windows need accumulation, validation needs validation data."""
    has = {"window": world.accum_steps > 1, "validation": validates}
    return [point for point in POINTS if has.get(point, True)]


def interruptions(
    world: World, points: Sequence[str], signal: str, *, validates: bool, seed: int
) -> Iterator[Interruption]:
    """One interruption for each point, in the order of POINTS.

    Args:
        world: of the drill, with at least two optimizer steps in an epoch.
        points: names from POINTS.
        signal: `SIGUSR2` or `SIGTERM`.
        validates: whether there is validation data.
        seed: of the random point.

    Raises:
        UserError: the run does not have one of the points.
    """
    batches, window = world.micro_batches_per_epoch, world.accum_steps
    if world.steps_per_epoch < 2:
        raise UserError(
            f"an epoch has {world.steps_per_epoch} optimizer step, so it has no middle; "
            "lower training.batch_size or execution.accum_steps"
        )
    unknown = [point for point in points if point not in POINTS]
    if unknown:
        raise UserError(f"--points {unknown[0]}: no such point; there are {', '.join(POINTS)}")
    if "window" in points and window < 2:
        raise UserError("execution.accum_steps is 1: there is no accumulation window to drill")
    if "validation" in points and not validates:
        raise UserError("data.test_data_file is not given: there is no validation to drill")
    places = {
        "mid-epoch": ("training", window - 1),  # the last micro-batch of the first step
        "window": ("training", batches // 2 // window * window),  # the first of a middle step
        "epoch-end": ("epoch_end", 0),
        "validation": ("validation", 0),
        "random": ("training", random.Random(seed).randrange(batches)),  # noqa: S311
    }
    for number, point in enumerate(point for point in POINTS if point in points):
        place, batch = places[point]
        yield Interruption(point, number + 1, number % world.ranks, place, number, batch, signal)
