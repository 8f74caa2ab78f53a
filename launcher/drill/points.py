"""Where a drill interrupts a run, and how short that run is."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ptycho_dist.config.world import World
from ptycho_dist.errors import UserError

POINTS = ("mid-epoch", "window", "epoch-end", "validation", "random")
"""In the order in which a run comes to them."""
STEPS = 4
"""Optimizer steps of an epoch, and a ragged one."""


@dataclass(frozen=True)
class Interruption:
    """One signal to one rank, in the attempt of its number."""

    point: str
    attempt: int
    rank: int
    place: str
    """`training`, `validation` or `epoch_end`."""
    epoch: int
    batch: int
    signal: str

    def to_json(self) -> dict[str, Any]:
        """For plan.json, where the ranks find it."""
        return {name: value for name, value in vars(self).items() if name != "point"}

    def __str__(self) -> str:
        place = f"epoch {self.epoch}"
        if self.place != "epoch_end":
            place += f", {'batch' if self.place == 'validation' else 'micro-batch'} {self.batch}"
        return f"{self.point} ({place}, {self.signal} to rank {self.rank})"


def short_run(world: World, points: Sequence[str]) -> list[str]:
    """What makes a run of a config short, as `--set` takes it; `world` is that of the config.

    An epoch for each point, and one more: the ranks stop some steps after a signal.
    """
    width = world.batch_size * world.ranks
    samples = width * world.accum_steps * STEPS + (width + 1) // 2  # a ragged end
    return [
        f"training.nepochs={len(points) + 1}",
        f"data.n_groups={min(world.samples, samples)}",
        "execution.early_stop_patience=100",
        "execution.enable_checkpointing=true",
        "reconstruct=false",
        "requeue.on=[]",
    ]


def applicable_points(world: World, *, validates: bool) -> list[str]:
    """The points that a run has."""
    absent = {"window"} if world.accum_steps < 2 else set()
    absent |= set() if validates else {"validation"}
    return [point for point in POINTS if point not in absent]


def interruptions(
    world: World, points: Sequence[str], signal: str, *, validates: bool, seed: int
) -> Iterator[Interruption]:
    """One interruption for each point, in the order of POINTS.

    Args:
        world: of the drill, with at least two optimizer steps in an epoch.
        points: of POINTS; `window` needs accumulation, `validation` validation data.
        signal: `SIGUSR2` or `SIGTERM`.
        validates: there is validation data.
        seed: of the random one.

    Raises:
        UserError: a point that this run does not have.
    """
    batches, window = world.micro_batches_per_epoch, world.accum_steps
    if world.steps_per_epoch < 2:
        raise UserError(
            f"an epoch has {world.steps_per_epoch} optimizer step: nothing lies in its middle; "
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
        "window": ("training", batches // 2 // window * window),  # the first of one in the middle
        "epoch-end": ("epoch_end", 0),
        "validation": ("validation", 0),
        "random": ("training", random.Random(seed).randrange(batches)),  # noqa: S311
    }
    for number, point in enumerate(point for point in POINTS if point in points):
        place, batch = places[point]
        yield Interruption(point, number + 1, number % world.ranks, place, number, batch, signal)
