"""The world-size contract: ranks, batches and steps, computed once and checked by each rank."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import Field

from ptycho_dist.config.run import RunConfig

Size = Annotated[int, Field(ge=1, le=2**53)]
"""A positive count; the bounds are checked when a plan is read from a file."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Counts of ranks, batches and steps of a run (specs/launch_plan.md, LP-010 to LP-016).

    ranks = nodes × tasks_per_node; global batch = batch_size × accum_steps × ranks.
    """

    nodes: Size
    tasks_per_node: Size
    ranks: Size
    devices_per_node: Size
    """The `devices` of the Lightning trainer: one per rank of a node."""
    threads_per_rank: Size
    batch_size: Size
    accum_steps: Size
    global_batch: Size
    samples: Size
    """Samples (groups) used in one epoch."""
    micro_batches_per_epoch: Size
    steps_per_epoch: Size
    epochs: Size
    total_steps: Size

    def to_json(self) -> dict[str, Any]:
        """Plain data; `World(**data)` reads it back."""
        return asdict(self)


def world_of(config: RunConfig, n_patterns: int) -> World:
    """Compute the world of a config whose training file holds `n_patterns` diffraction patterns.

    A pure function: the login node calls it for the plan, and each rank calls it again with the
    number of patterns that it finds in the file.
    """
    resources, training, execution = config.resources, config.training, config.execution
    nodes = resources.nodes or _number(execution.num_nodes)
    tasks_per_node = (
        resources.tasks_per_node or resources.gpus_per_node or _number(execution.devices)
    )
    ranks = nodes * tasks_per_node
    samples = config.data.n_groups or min(config.data.n_subsample or n_patterns, n_patterns)
    micro_batches = math.ceil(samples / (training.batch_size * ranks))
    steps = optimizer_steps(samples, training.batch_size, ranks, execution.accum_steps)
    return World(
        nodes=nodes,
        tasks_per_node=tasks_per_node,
        ranks=ranks,
        devices_per_node=tasks_per_node,
        threads_per_rank=resources.cpus_per_task,
        batch_size=training.batch_size,
        accum_steps=execution.accum_steps,
        global_batch=training.batch_size * execution.accum_steps * ranks,
        samples=samples,
        micro_batches_per_epoch=micro_batches,
        steps_per_epoch=steps,
        epochs=training.nepochs,
        total_steps=steps * training.nepochs,
    )


def optimizer_steps(samples: int, batch_size: int, ranks: int, accum_steps: int) -> int:
    """Number of optimizer steps in one epoch; the last step may use fewer samples."""
    return math.ceil(math.ceil(samples / (batch_size * ranks)) / accum_steps)


def _number(asked: int | str) -> int:
    return 1 if asked == "auto" else int(asked)
