"""Expands the grid of a study into its runs, in the order in which they run.

Strong scaling keeps the global batch of the config, weak scaling its batch per rank.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from launcher.scaling.study.definition import LrRule, Mode, Point
from launcher.scaling.study.request import StudyRequest
from launcher.text.counted import counted
from ptycho_dist.config.faults import Fault
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.world import World, optimizer_steps
from ptycho_dist.rundir.measurement_plan import MeasurementPlan

MOST_POINTS = 2000
SHORTEST_STEP_S = 1e-3
"""Shortest step assumed for a run that measures for a time: its epochs must hold enough steps."""
SEEDS = 2**32


@dataclass(frozen=True)
class Variant:
    """One size in one mode, or in both where these mean the same run."""

    modes: tuple[Mode, ...]
    nodes: int
    tasks_per_node: int
    batch_size: int
    """Samples per rank and batch."""
    global_batch: int
    learning_rate: float
    epochs: int

    @property
    def ranks(self) -> int:
        """World size."""
        return self.nodes * self.tasks_per_node

    @property
    def name(self) -> str:
        """Its name in messages."""
        return point_name(self.nodes, self.tasks_per_node, self.modes)


def point_name(nodes: int, tasks_per_node: int, modes: tuple[Mode, ...]) -> str:
    """`4 nodes × 2 tasks, strong+weak`."""
    return f"{counted(nodes, 'node')} × {counted(tasks_per_node, 'task')}, {mode_text(modes)}"


def mode_text(modes: tuple[Mode, ...]) -> str:
    """The modes as one word: `strong+weak` for a run that serves both."""
    return "+".join(modes)


def variants_of(
    base: World, learning_rate: float, request: StudyRequest
) -> tuple[list[Variant], list[tuple[str, Fault]]]:
    """Expand the grid into sizes and modes.

    Args:
        base: world of the config, whose global batch or batch per rank is kept.
        learning_rate: learning rate of the config.
        request: the grid.

    Returns:
        The possible variants, and the name and fault of each impossible one.
    """
    found: dict[tuple[int, int, int], Variant] = {}
    faults: list[tuple[str, Fault]] = []
    sizes = itertools.product(request.nodes, request.tasks_per_node or (base.tasks_per_node,))
    for (nodes, tasks), mode in itertools.product(sizes, request.modes):
        ranks, name = nodes * tasks, point_name(nodes, tasks, (mode,))
        whole = ranks * base.accum_steps
        batch_size = base.batch_size if mode == "weak" else base.global_batch // whole
        fault = _fault(base, mode, whole, batch_size)
        if fault is not None:
            faults.append((name, fault))
            continue
        global_batch = batch_size * whole
        known = found.get((nodes, tasks, batch_size))
        found[nodes, tasks, batch_size] = Variant(
            modes=(mode,) if known is None else (*known.modes, mode),
            nodes=nodes,
            tasks_per_node=tasks,
            batch_size=batch_size,
            global_batch=global_batch,
            learning_rate=scaled_rate(
                learning_rate, global_batch / base.global_batch, request.lr_rule
            ),
            epochs=epochs_for(
                request.measurement,
                base.epochs,
                optimizer_steps(base.samples, batch_size, ranks, base.accum_steps),
            ),
        )
    if len(found) * request.repeats > MOST_POINTS:
        count = f"{len(found)} sizes × {request.repeats} repeats"
        faults.append(("the study", Fault("--repeats", f"{count}: at most {MOST_POINTS} runs")))
    return list(found.values()), faults


def _fault(base: World, mode: Mode, whole: int, batch_size: int) -> Fault | None:
    """Why a size is impossible; None: it is possible.

    Args:
        base: world of the config.
        mode: strong or weak.
        whole: number of micro-batches in a global batch.
        batch_size: samples per rank and batch.
    """
    if mode == "strong" and base.global_batch % whole:
        accumulated = f" of {base.accum_steps} accumulated batches" if base.accum_steps > 1 else ""
        return Fault(
            "training.batch_size",
            f"the global batch of {base.global_batch} that strong scaling keeps cannot be divided "
            f"equally between {whole // base.accum_steps} ranks{accumulated}",
        )
    if mode == "strong" and batch_size & (batch_size - 1):
        return Fault(
            "training.batch_size",
            f"{batch_size} per rank, from the global batch of {base.global_batch} that strong "
            "scaling keeps; a power of two is expected",
        )
    if batch_size * whole > base.samples:
        return Fault(
            "training.batch_size",
            f"a global batch of {batch_size * whole}, but an epoch has only {base.samples} "
            "samples, so no step would be full",
        )
    return None


def scaled_rate(learning_rate: float, ratio: float, rule: LrRule) -> float:
    """The learning rate for a global batch that is `ratio` times as large.

    sqrt: × √ratio, for adaptive optimizers such as Adam (Malladi et al., On the SDEs and Scaling
    Rules for Adaptive Gradient Algorithms, arXiv:2205.10287, without that rule's changes of β and
    ε). linear: × ratio (Goyal et al., Accurate, Large Minibatch SGD, arXiv:1706.02677,
    section 2.1). none: unchanged.
    """
    if rule == "none" or ratio == 1:
        return learning_rate
    return learning_rate * (math.sqrt(ratio) if rule == "sqrt" else ratio)


def epochs_for(measurement: MeasurementPlan, epochs: int, steps_per_epoch: int) -> int:
    """The epochs of the config, or more where warm-up and measurement need more steps.

    A run that measures until a target loss is reached has the epochs of the config for it.
    """
    if measurement.until == "target_loss":
        return epochs
    steps = measurement.value
    if measurement.until == "seconds":
        steps /= SHORTEST_STEP_S
    return max(epochs, math.ceil((measurement.warm_up_steps + steps) / steps_per_epoch))


def points_of(
    variants: list[Variant], base: World, config: RunConfig, request: StudyRequest
) -> tuple[Point, ...]:
    """The runs in their order, as randomised complete blocks.

    Each repeat holds every size once, in its own random order, so that a machine that becomes
    slower or faster over hours does not look like scaling (Fisher, The Design of Experiments,
    1935).
    """
    ordered = [
        (variant, repeat)
        for repeat in range(request.repeats)
        for variant in _shuffled(variants, request.seed, repeat)
    ]
    return tuple(
        Point(
            index=index,
            modes=variant.modes,
            nodes=variant.nodes,
            tasks_per_node=variant.tasks_per_node,
            repeat=repeat,
            batch_size=variant.batch_size,
            global_batch=variant.global_batch,
            learning_rate=variant.learning_rate,
            overrides=dict(_overrides(variant, base, config, request, repeat)),
        )
        for index, (variant, repeat) in enumerate(ordered)
    )


def _shuffled(variants: list[Variant], seed: int, repeat: int) -> list[Variant]:
    block = list(variants)
    random.Random(f"{seed}:{repeat}").shuffle(block)  # noqa: S311 - an order, no secret
    return block


def _overrides(
    variant: Variant, base: World, config: RunConfig, request: StudyRequest, repeat: int
) -> Iterator[tuple[str, Any]]:
    """Pairs of field path and value that a point sets in the config."""
    yield "resources.nodes", variant.nodes
    yield "resources.tasks_per_node", variant.tasks_per_node
    if config.resources.gpus_per_node is not None:  # one rank drives one GPU
        yield "resources.gpus_per_node", variant.tasks_per_node
    if config.execution.devices != "auto":
        yield "execution.devices", variant.tasks_per_node
    if config.execution.num_nodes != "auto":
        yield "execution.num_nodes", variant.nodes
    if variant.batch_size != base.batch_size:
        yield "training.batch_size", variant.batch_size
    if variant.learning_rate != config.execution.learning_rate:
        yield "execution.learning_rate", variant.learning_rate
    if variant.epochs != base.epochs:
        yield "training.nepochs", variant.epochs
    if request.measurement.until == "target_loss" and repeat:
        # With the same seed every repeat would have the same loss curve. In MLPerf, too, each run
        # has its own seed, which is one reason why times to a target differ.
        yield "training.seed", (config.training.seed + repeat) % SEEDS
